"""Kafka administration: topics and the positions of groups. Blocking calls, for commands and for start-up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from kafka import TopicPartition
from kafka.admin import KafkaAdminClient, OffsetSpec
from kafka.errors import (
    KafkaError,
    NoError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    TopicDeletionDisabledError,
    UnknownTopicOrPartitionError,
)
from kafka.structs import OffsetAndMetadata

from schemas.errors import BrokerUnavailable, SettingsInvalid


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it shall be; `config` in Kafka's own names."""

    name: str
    partitions: int = 1
    config: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def _admin(bootstrap: str, action: str) -> Iterator[KafkaAdminClient]:
    try:
        admin = KafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=10_000, bootstrap_timeout_ms=5_000)
        try:
            yield admin
        finally:
            admin.close()
    except KafkaError as error:
        raise BrokerUnavailable(action, bootstrap, f"does not answer: {type(error).__name__}") from None


def ensure_topics(bootstrap: str, specs: Sequence[TopicSpec]) -> Sequence[str]:
    """Create what is missing (replication as the broker's default says) and return the created names. An existing topic
    is left as it is. Raises BrokerUnavailable; SettingsInvalid when an existing topic has another number of partitions:
    changing it would break the order per key."""
    with _admin(bootstrap, "ensure topics") as admin:
        existing = _partitions(admin)
        for spec in specs:
            if spec.name in existing and existing[spec.name] != spec.partitions:
                raise SettingsInvalid(
                    "ensure topics", spec.name, f"has {existing[spec.name]} partitions, {spec.partitions} are wanted"
                )
        missing = [spec for spec in specs if spec.name not in existing]
        created = []
        for spec in missing:
            options = {"num_partitions": spec.partitions, "replication_factor": -1, "configs": dict(spec.config)}
            try:
                admin.create_topics({spec.name: options}, wait_for_metadata=True)
            except TopicAlreadyExistsError:
                continue  # another process was faster
            created.append(spec.name)
        return created


def delete_topics(bootstrap: str, names: Sequence[str]) -> Sequence[str]:
    """With all that stands on them, and for ever; returns those that there were. Raises BrokerUnavailable; SettingsInvalid when the
    broker lets nobody delete any."""
    with _admin(bootstrap, "delete topics") as admin:
        existing, deleted = _partitions(admin), []
        for name in (name for name in names if name in existing):
            try:
                admin.delete_topics([name])
            except UnknownTopicOrPartitionError:
                continue  # another process was faster
            except (TopicDeletionDisabledError, TopicAuthorizationFailedError) as error:
                raise SettingsInvalid("delete topics", name, f"the broker refuses it: {type(error).__name__}") from None
            deleted.append(name)
        return deleted


def list_topics(bootstrap: str) -> Mapping[str, int]:
    """Names of all topics but Kafka's own, and their numbers of partitions. Raises BrokerUnavailable."""
    with _admin(bootstrap, "list topics") as admin:
        return {name: count for name, count in sorted(_partitions(admin).items()) if not name.startswith("__")}


@dataclass(frozen=True, slots=True)
class TopicSize:
    """`records`: how many offsets the topic holds, an upper bound where it is compacted."""

    partitions: int
    records: int


def topic_sizes(bootstrap: str, names: Sequence[str]) -> Mapping[str, TopicSize]:
    """Of those topics that exist. Raises BrokerUnavailable."""
    with _admin(bootstrap, "topic sizes") as admin:
        counts = {name: count for name, count in _partitions(admin).items() if name in names}
        partitions = [TopicPartition(name, number) for name, count in counts.items() for number in range(count)]
        begins, ends = _begins(admin, partitions), _ends(admin, partitions)
        records = dict.fromkeys(counts, 0)
        for one in partitions:
            records[one.topic] += ends[one] - begins[one]
        return {name: TopicSize(counts[name], records[name]) for name in names if name in counts}


def end_offsets(bootstrap: str, topic: str) -> Mapping[int, int]:
    """Per partition the offset that the next record will get. Raises BrokerUnavailable."""
    with _admin(bootstrap, "end offsets") as admin:
        partitions = [TopicPartition(topic, number) for number in range(_partitions(admin).get(topic, 0))]
        return {partition.partition: offset for partition, offset in _ends(admin, partitions).items()}


def group_offsets(bootstrap: str, group: str) -> Mapping[tuple[str, int], int]:
    """What a consumer group has committed, per (topic, partition). Raises BrokerUnavailable."""
    with _admin(bootstrap, "group offsets") as admin:
        return {(one.topic, one.partition): offset for one, offset in _committed(admin, group).items()}


def group_lag(bootstrap: str, group: str, topics: Sequence[str]) -> Mapping[tuple[str, int], int]:
    """Records on `topics` that the group has not committed, per (topic, partition); where it never committed, all that
    the partition holds. Raises BrokerUnavailable."""
    with _admin(bootstrap, "group lag") as admin:
        counts = _partitions(admin)
        partitions = [TopicPartition(topic, number) for topic in topics for number in range(counts.get(topic, 0))]
        begins, committed = _begins(admin, partitions), _committed(admin, group)
        return {
            (one.topic, one.partition): end - max(committed.get(one, 0), begins[one])
            for one, end in _ends(admin, partitions).items()
        }


def begin_at_the_end(bootstrap: str, group: str, topics: Sequence[str], *, begun: bool = False) -> bool:
    """A group that never committed begins at what comes next, and not with what the topics hold; one that did is left as it is, and
    reads partitions that were added since from their beginning. `begun`: it has committed before, so one without any position was
    forgotten (offsets.retention.minutes; a broker that was made anew) and begins with all that the topics hold; then True. To be
    called before it reads. Raises BrokerUnavailable, also when another process of the group did the same at the same moment:
    then it has been done."""
    with _admin(bootstrap, "begin at the end") as admin:
        counts = _partitions(admin)
        committed = _committed(admin, group)
        partitions = [TopicPartition(topic, number) for topic in topics for number in range(counts.get(topic, 0))]
        missing = [partition for partition in partitions if partition not in committed]
        if not missing:
            return False
        first = _begins(admin, missing) if committed or begun else _ends(admin, missing)
        answers = admin.alter_group_offsets(group, {one: OffsetAndMetadata(offset, "", -1) for one, offset in first.items()})
        if refused := {error.__name__ for error in answers.values() if error is not NoError}:
            raise BrokerUnavailable("begin at the end", group, f"not committed: {', '.join(sorted(refused))}")
        return begun and not committed


def _partitions(admin: KafkaAdminClient) -> dict[str, int]:
    return {topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics()}


def _begins(admin: KafkaAdminClient, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    return _offsets(admin, dict.fromkeys(partitions, OffsetSpec.EARLIEST))


def _ends(admin: KafkaAdminClient, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    return _offsets(admin, dict.fromkeys(partitions, OffsetSpec.LATEST))


def _offsets(admin: KafkaAdminClient, wanted: Mapping[TopicPartition, OffsetSpec]) -> dict[TopicPartition, int]:
    found = admin.list_partition_offsets(wanted) if wanted else {}
    return {partition: found[partition].offset for partition in wanted}


def _committed(admin: KafkaAdminClient, group: str) -> dict[TopicPartition, int]:
    found = admin.list_group_offsets({group: None})[group]
    return {partition: position.offset for partition, position in found.items() if position.offset >= 0}
