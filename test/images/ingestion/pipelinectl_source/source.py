"""A CustomDatabase source that makes up its tables, and fails as it is told.

test/images/README.md describes the connectionOptions that tell it.
"""

import atexit
import os
import sys

import simulation
from metadata.generated.schema.api.data.createDatabase import CreateDatabaseRequest
from metadata.generated.schema.api.data.createDatabaseSchema import CreateDatabaseSchemaRequest
from metadata.generated.schema.api.data.createTable import CreateTableRequest
from metadata.generated.schema.entity.data.table import Column, DataType
from metadata.generated.schema.entity.services.ingestionPipelines.status import StackTraceError
from metadata.generated.schema.metadataIngestion.workflow import Source as WorkflowSource
from metadata.ingestion.api.models import Either
from metadata.ingestion.api.steps import Source

DATABASE = "static"
SCHEMA = "public"


class StaticDatabase(Source):
    """One database with one schema, and a table for each row of the simulated source."""

    def __init__(self, config, metadata, pipeline_name):
        super().__init__()
        self.metadata = metadata
        self._service = config.serviceName
        self._plan = simulation.parse(_options(config), _token(metadata))
        if self._plan.fault.point == "init":
            raise ValueError("option faultAt: a source cannot fail before the workflow has begun")
        self._plan.of_attempt(_attempt(metadata, pipeline_name, self._plan))
        simulation.prepare_signals(self._plan)
        if self._plan.fault.point == "end":
            # The workflow writes its result after all steps are closed.
            atexit.register(self._plan.fault.strike, "end", os._exit)
        self._plan.fault.strike("constructor")

    @classmethod
    def create(cls, config_dict, metadata, pipeline_name=None):
        """Make the source of a workflow's configuration, as the workflow asks for it."""
        return cls(WorkflowSource.model_validate(config_dict), metadata, pipeline_name)

    def prepare(self):
        """Nothing is to be prepared."""

    def test_connection(self):
        """There is no database that could be out of reach."""

    def _iter(self, *_, **__):
        database = f"{self._service}.{DATABASE}"
        schema = f"{database}.{SCHEMA}"
        yield Either(right=CreateDatabaseRequest(name=DATABASE, service=self._service))
        yield Either(right=CreateDatabaseSchemaRequest(name=SCHEMA, database=database))
        for name, error in simulation.read(self._plan):
            if error:
                yield Either(left=StackTraceError(name=name, error=error))
            else:
                yield Either(right=_table(name, schema))

    def close(self):
        """Nothing is to be closed."""


def _options(config):
    options = config.serviceConnection.root.config.connectionOptions
    return options.root if options else {}


def _token(metadata):
    security = metadata.config.securityConfig
    token = getattr(security, "jwtToken", None)
    return token.get_secret_value() if token else ""


def _attempt(metadata, pipeline_name, plan):
    """The number of the run's attempt; it is known only whether an earlier one has failed."""
    if not plan.fail_attempts or not pipeline_name:
        return 1
    runs = metadata.get_pipeline_status_between_ts(pipeline_name, 0, sys.maxsize) or []
    newest = max(runs, key=lambda run: run.timestamp.root, default=None)
    steps = newest.status.root if newest and newest.status else []
    return plan.fail_attempts + 1 if any(step.failures for step in steps) else 1


def _table(name, schema):
    columns = [
        Column(name="id", dataType=DataType.BIGINT),
        Column(name="note", dataType=DataType.VARCHAR, dataLength=64),
    ]
    return CreateTableRequest(name=name, databaseSchema=schema, columns=columns)
