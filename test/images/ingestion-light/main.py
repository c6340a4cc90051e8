"""The ingestion container's entry point, with a simulated source.

Seen from outside it behaves as OpenMetadata's ingestion container: same environment,
same status writes, same exit codes. test/images/README.md says what it is told by.
"""

import logging
import os
import statistics
import sys
import time
import traceback
import uuid

import yaml

import client
import simulation

# Those of ingestion/main.py, but for application: its configuration has no source.
PIPELINE_TYPES = (
    "metadata",
    "lineage",
    "dbt",
    "usage",
    "profiler",
    "autoClassification",
    "TestSuite",
)
WORKFLOW_FIELDS = {
    "source",
    "processor",
    "sink",
    "stage",
    "bulkSink",
    "workflowConfig",
    "ingestionPipelineFQN",
    "pipelineRunId",
    "enableStreamableLogs",
    "ingestionRunnerName",
}
RECORD_FIELDS = {
    "runId",
    "pipelineState",
    "startDate",
    "timestamp",
    "endDate",
    "status",
    "config",
    "metadata",
}
STATES = {"queued", "running", "success", "failed", "partialSuccess", "stopped"}
DEFAULT_SUCCESS_THRESHOLD = 90
MAX_FAILURES = 10
ATTEMPTS_KEY = "ingestion-light"

log = logging.getLogger("metadata.Ingestion")


class WorkflowExecutionError(Exception):
    """A step failed more often than the success threshold allows."""


class InvalidWorkflow(Exception):
    """The configuration is not a workflow."""


class Step:
    """What one step of the workflow counted."""

    def __init__(self, name):
        self.name = name
        self.records = 0
        self.failures = []

    def success(self):
        """Percent of the records that went well; no record at all counts as one."""
        good = max(self.records, 1)
        return round(good * 100 / (good + len(self.failures)), 2)

    def summary(self):
        """The StepSummary of the run's record, with the first failures."""
        summary = {
            "name": self.name,
            "records": self.records,
            "updated_records": 0,
            "warnings": 0,
            "errors": len(self.failures),
            "filtered": 0,
        }
        if self.failures:
            summary["failures"] = self.failures[:MAX_FAILURES]
        return summary


class Workflow:
    """One run: writes `running`, reads the simulated source, writes its result."""

    def __init__(self, config):
        check(config)
        self._config = config
        self._started = now_ms()
        self._fqn = config.get("ingestionPipelineFQN")
        self._run_id = str(config.get("pipelineRunId") or uuid.uuid4())
        self._threshold = config["workflowConfig"].get(
            "successThreshold", DEFAULT_SUCCESS_THRESHOLD
        )
        self._pipeline = None
        self._attempt = 1
        self._client = client.Client(config["workflowConfig"]["openMetadataServerConfig"])
        log.info("OpenMetadata client running with Server version [%s]", self._client.version())

        self._plan = simulation.Plan()
        try:
            self._plan = simulation.parse(self._options(), self._client.token)
        except ValueError:
            # The real source reads its options after `running` is written.
            self._write("running")
            raise
        simulation.prepare_signals(self._plan)
        self._plan.fault.strike("init")
        self._write("running")
        self._plan.of_attempt(self._attempt)
        self._plan.fault.strike("constructor")
        self._source, self._sink = Step("Source"), Step("OpenMetadata")

    def execute(self):
        """Run the source; whatever ends it, write the result the way the real one does."""
        state = "success"
        try:
            self._read()
            if self._threshold <= statistics.mean(s.success() for s in self._steps()) < 100:
                state = "partialSuccess"
            try:
                self.raise_from_status()
            except WorkflowExecutionError:
                state = "failed"
        # Not BaseException: the real workflow reports success for a SystemExit too.
        except Exception:
            state = "failed"
            raise
        finally:
            self._write(state, [step.summary() for step in self._steps()])
            self.print_status()

    def raise_from_status(self):
        """Raise WorkflowExecutionError if a step is below the success threshold."""
        for step in self._steps():
            if step.failures and step.success() < self._threshold:
                raise WorkflowExecutionError(
                    f"{step.name} reported errors: {step.records} records, "
                    f"{len(step.failures)} errors"
                )

    def print_status(self):
        """Log the summary of each step."""
        for step in self._steps():
            log.info("Workflow %s Summary:", step.name)
            log.info("Processed records: %d", step.records)
            log.info("Errors: %d", len(step.failures))
            log.info("Success %%: %s", step.success())

    def stop(self):
        """End the run; a fault of point `end` strikes here, after the result is written."""
        self._plan.fault.strike("end")

    def _steps(self):
        return (self._source, self._sink)

    def _read(self):
        # The database and the schema, which the tables are in.
        self._source.records = self._sink.records = 2
        try:
            for name, error in simulation.read(self._plan):
                if error:
                    log.warning(error)
                    self._source.failures.append({"name": name, "error": error})
                else:
                    self._source.records += 1
                    self._sink.records += 1
        except simulation.SimulatedError as err:
            # One failure among the others, as the real workflow counts it.
            self._source.failures.append(
                {"name": "Source", "error": str(err), "stackTrace": traceback.format_exc()}
            )

    def _options(self):
        connection = self._config["source"].get("serviceConnection")
        if not connection:
            service = self._client.database_service(self._config["source"]["serviceName"])
            connection = (service or {}).get("connection")
        return ((connection or {}).get("config") or {}).get("connectionOptions")

    def _write(self, state, status=None):
        """Write the state; an error is logged and swallowed, as in the real workflow."""
        if not self._fqn:
            return
        try:
            if not self._pipeline:
                self._pipeline = self._client.pipeline(self._fqn)
            if not self._pipeline:
                log.error("Ingestion Pipeline [%s] not found: no status is written", self._fqn)
                return
            fqn = self._pipeline["fullyQualifiedName"]
            record = self._client.status(fqn, self._run_id)
            self._client.put_status(fqn, self._next_record(record, state, status))
        except Exception as err:
            log.error("Unhandled error trying to update Ingestion Pipeline status [%s]", err)

    def _next_record(self, record, state, status):
        if record is None:
            record = {
                "runId": self._run_id,
                "startDate": self._started,
                "timestamp": self._started,
            }
        else:
            refuse_unknown(record)
            # The end date goes on every later write, also on `running`.
            record = {**record, "endDate": now_ms()}
        metadata = self._count_attempt(record.get("metadata"), first=status is None)
        record.update(pipelineState=state, config={}, metadata=metadata)
        if status is not None:
            record["status"] = status
        return {name: value for name, value in record.items() if value is not None}

    def _count_attempt(self, metadata, first):
        """The attempt's number lives in the record, or a later attempt could not know it."""
        if not self._plan.fail_attempts:
            return None
        if first:
            self._attempt = ((metadata or {}).get(ATTEMPTS_KEY) or {}).get("attempts", 0) + 1
        return {**(metadata or {}), ATTEMPTS_KEY: {"attempts": self._attempt}}


def check(config):
    """Raise InvalidWorkflow for what the real configuration schema refuses."""
    if not isinstance(config, dict):
        raise InvalidWorkflow("the configuration is no mapping")
    unknown = set(config) - WORKFLOW_FIELDS
    if unknown:
        raise InvalidWorkflow(f"extra fields are not permitted: {', '.join(sorted(unknown))}")
    for path in (
        ("source", "type"),
        ("source", "serviceName"),
        ("source", "sourceConfig"),
        ("workflowConfig", "openMetadataServerConfig", "hostPort"),
    ):
        value = config
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if not value:
            raise InvalidWorkflow(f"{'.'.join(path)} is missing")
    if config.get("pipelineRunId"):
        try:
            uuid.UUID(str(config["pipelineRunId"]))
        except ValueError as err:
            raise InvalidWorkflow("pipelineRunId is not a UUID") from err


def refuse_unknown(record):
    """Raise for a record that the real client's closed model could not read."""
    unknown = set(record) - RECORD_FIELDS
    if unknown:
        raise InvalidWorkflow(f"unknown fields in the run's record: {', '.join(sorted(unknown))}")
    if record.get("pipelineState") not in STATES | {None}:
        raise InvalidWorkflow(f"unknown state in the run's record: {record['pipelineState']}")


def now_ms():
    """Milliseconds since the epoch."""
    return int(time.time() * 1000)


def load(environment):
    """The workflow configuration of the environment, with the run's id in it."""
    text = environment.get("config")
    if not text:
        raise RuntimeError("the environment variable config is missing: the workflow's YAML")
    pipeline_type = environment.get("pipelineType")
    if not pipeline_type:
        raise RuntimeError("the environment variable pipelineType is missing")
    config = yaml.safe_load(text)
    if pipeline_type not in PIPELINE_TYPES:
        raise ValueError(f"no workflow for the pipeline type {pipeline_type}")
    run_id = environment.get("pipelineRunId")
    if run_id and isinstance(config, dict):
        config["pipelineRunId"] = run_id
    return config


def main():
    """Run the workflow that the environment describes."""
    logging.basicConfig(
        level=logging.INFO,
        format="[%(asctime)s] %(levelname)-8s {%(name)s:%(module)s:%(lineno)d} - %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )
    workflow = Workflow(load(os.environ))
    workflow.execute()
    workflow.raise_from_status()
    workflow.print_status()
    workflow.stop()


if __name__ == "__main__":
    sys.exit(main())
