"""The ingestion container's entry point: runs the workflow that the environment describes."""

import importlib
import os
import sys

import yaml

# What pipelinectl deploys (pkg/workflow). By pipeline type, module and class; a module is imported when it is needed, for that takes seconds.
WORKFLOWS = {
    "metadata": ("metadata.workflow.metadata", "MetadataWorkflow"),
    "lineage": ("metadata.workflow.metadata", "MetadataWorkflow"),
    "dbt": ("metadata.workflow.metadata", "MetadataWorkflow"),
    "usage": ("metadata.workflow.usage", "UsageWorkflow"),
    "profiler": ("metadata.workflow.profiler", "ProfilerWorkflow"),
    "autoClassification": ("metadata.workflow.classification", "AutoClassificationWorkflow"),
    "TestSuite": ("metadata.workflow.data_quality", "TestSuiteWorkflow"),
    "application": ("metadata.workflow.application", "ApplicationWorkflow"),
}


def required(name):
    """A variable of the environment; an error names the one that is missing."""
    value = os.environ.get(name)
    if not value:
        raise RuntimeError(f"the environment variable {name} is missing")
    return value


def workflow_class(pipeline_type):
    """The class that runs pipelines of a type."""
    if pipeline_type not in WORKFLOWS:
        known = ", ".join(sorted(WORKFLOWS))
        raise ValueError(f"no workflow for the pipeline type {pipeline_type}; it is one of {known}")
    module, name = WORKFLOWS[pipeline_type]
    return getattr(importlib.import_module(module), name)


def main():
    """Run the workflow; an exception ends the process with code 1."""
    config = yaml.safe_load(required("config"))
    pipeline_class = workflow_class(required("pipelineType"))
    run_id = os.environ.get("pipelineRunId")
    if run_id:
        config["pipelineRunId"] = run_id
    workflow = pipeline_class.create(config)
    workflow.execute()
    workflow.raise_from_status()
    workflow.print_status()
    workflow.stop()


if __name__ == "__main__":
    sys.exit(main())
