"""Parses workflow configurations, given as a JSON object of YAML texts by name, with the ingestion package's own models."""

import json
import sys

import yaml
from metadata.generated.schema.metadataIngestion.application import OpenMetadataApplicationConfig
from metadata.ingestion.api.parser import parse_automation_workflow_gracefully, parse_workflow_config_gracefully

failed = {}
for name, text in json.load(sys.stdin).items():
    config = yaml.safe_load(text)
    try:
        if "sourcePythonClass" in config:
            OpenMetadataApplicationConfig.model_validate(config)
        elif "workflowType" in config:
            parse_automation_workflow_gracefully(config)
        else:
            parse_workflow_config_gracefully(config)
    except Exception as error:
        failed[name] = f"{type(error).__name__}: {error}"
json.dump(failed, sys.stdout)
