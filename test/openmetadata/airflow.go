package openmetadata

import (
	"encoding/json"
	"maps"
	"time"
)

// airflowDefaults are those of the schema airflowConfig, which the server fills in.
func airflowDefaults() map[string]any {
	return map[string]any{
		"pausePipeline": false, "concurrency": 1, "pipelineTimezone": "UTC", "retries": 0, "retryDelay": 300, "pipelineCatchup": false,
		"maxActiveRuns": 1, "workflowDefaultView": "tree", "workflowDefaultViewOrientation": "LR",
	}
}

// fillAirflowConfig makes of a pipeline's airflowConfig what the server answers: with its defaults, and dates in milliseconds.
func fillAirflowConfig(doc map[string]any) error {
	given, ok := doc["airflowConfig"].(map[string]any)
	if !ok {
		return nil
	}
	filled := airflowDefaults()
	maps.Copy(filled, given)
	for _, field := range []string{"startDate", "endDate"} {
		switch value := filled[field].(type) {
		case nil:
			delete(filled, field)
		case string:
			date, err := parseDate(value)
			if err != nil {
				return badRequest("Cannot deserialize value of type `java.util.Date` from String %q", value)
			}
			filled[field] = date.UnixMilli()
		case float64, json.Number, int64:
		default:
			return badRequest("Cannot deserialize value of type `java.util.Date`")
		}
	}
	doc["airflowConfig"] = filled
	return nil
}

// parseDate reads ISO 8601; a date alone is at midnight UTC.
func parseDate(text string) (time.Time, error) {
	var err error
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05", time.DateOnly} {
		var date time.Time
		if date, err = time.Parse(layout, text); err == nil {
			return date, nil
		}
	}
	return time.Time{}, err
}
