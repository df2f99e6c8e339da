"""All records of a workspace behind one object."""

from __future__ import annotations

from profiler._campaign_records import CampaignRecords
from profiler._conditions import ConditionRecords
from profiler._database import Database
from profiler._table_records import TableRecords


class Store(CampaignRecords, ConditionRecords, TableRecords):
    """Campaigns and reference tables of one database; the only writer in this process."""

    def __init__(self, database: Database) -> None:
        self.database = database
