"""A web server that takes findings: python receive.py PORT SECRET_FILE     (needs standardwebhooks)"""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from standardwebhooks import Webhook, WebhookVerificationError

secret = Webhook(Path(sys.argv[2]).read_text().split()[0])
done = set()  # yours belongs into your database, written together with your work


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            said = secret.verify(body, dict(self.headers))  # who sent it, that nobody changed it, and that it is not old
        except (WebhookVerificationError, ValueError):
            return self.send_error(401)
        if self.headers["webhook-id"] not in done:
            print(self.headers["ce-type"], said.get("subject", said)["study_instance_uid"], flush=True)  # the work
            done.add(self.headers["webhook-id"])
        self.send_response_only(204)  # a repetition too: it is done
        self.end_headers()


HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
