"""What the AI says, as it says it: python subscribe.py HOST:PORT GROUP     (needs kafka-python)"""

import json
import sys

from kafka import KafkaConsumer

bootstrap, group = sys.argv[1:]
consumer = KafkaConsumer(
    "ai.results", bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest"
)
held = {}  # the highest sequence of each study and service; yours belongs into your database, written together with your work


def work(said):
    subject, study = said["subject"], (said["subject"]["study_instance_uid"], said["service"])
    if not subject.get("outward", True) or subject["sequence"] <= held.get(study, 0):
        return  # for radstream alone; or it came twice, or after a later one: what is held stays
    if said.get("not_analysed"):  # withdraws what was said of the study before
        words = ["not analysed: " + said["not_analysed"]["reason"]]
    else:
        words = [f"{one['kind']} {one['probability']:.2f}" for one in said.get("findings", ())]
        words += [f"{one['name']} {one['value']:.2f}" for image in said.get("images", ()) for one in image.get("outputs", ())]
    after = " (after verification)" if said.get("verified_at") else ""
    print(*study, subject["sequence"], ", ".join(words or ["nothing found"]) + after, flush=True)
    held[study] = subject["sequence"]


while True:
    for records in consumer.poll(timeout_ms=1000).values():
        for record in records:
            work(json.loads(record.value))
    consumer.commit()  # after the work: a crash repeats it, and loses nothing
