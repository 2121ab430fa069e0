"""The two versions that come with the source: one speaks first, the other is promoted."""

FIRST, SECOND = "chest-nodule/2", "chest-nodule/1"
