"""What the AI says, as it says it: python subscribe.py HOST:PORT GROUP     (needs kafka-python)"""

import json
import sys

from kafka import KafkaConsumer

settings = {"bootstrap_servers": sys.argv[1], "group_id": sys.argv[2], "auto_offset_reset": "earliest"}
consumer = KafkaConsumer("ai.results", enable_auto_commit=False, **settings)
held = {}  # the highest sequence of each study and service; yours belongs into your database, written together with your work

for record in consumer:
    said = json.loads(record.value)
    subject, study = said["subject"], (said["subject"]["study_instance_uid"], said["service"])
    if subject.get("outward", True) and subject["sequence"] > held.get(study, 0):  # else for radstream alone, or held already
        words = [f"{one['kind']} {one['probability']:.2f}" for one in said.get("findings", ())]
        words += [f"{one['name']} {one['value']:.2f}" for image in said.get("images", ()) for one in image.get("outputs", ())]
        if said.get("not_analysed"):  # withdraws what was said of the study before
            words = ["not analysed: " + said["not_analysed"]["reason"]]
        after = " (after verification)" if said.get("verified_at") else ""
        print(*study, subject["sequence"], ", ".join(words or ["nothing found"]) + after, flush=True)
        held[study] = subject["sequence"]
    consumer.commit()  # after the work: a crash repeats it, and loses nothing
