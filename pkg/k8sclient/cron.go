package k8sclient

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// cronField is one of the five fields of a cron expression.
type cronField struct {
	name     string
	min, max int
	// names are of the values from min on.
	names []string
}

func cronFields() []cronField {
	return []cronField{
		{name: "minute", max: 59}, {name: "hour", max: 23}, {name: "day of the month", min: 1, max: 31},
		{name: "month", min: 1, max: 12, names: []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
		// 7 is Sunday too.
		{name: "day of the week", max: 7, names: []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
	}
}

// normalizeCron writes an expression as the CronJob controller reads it. OpenMetadata and Airflow read more: Sunday as 7, also
// in lists and ranges, and ranges over the end, such as 22-2.
func normalizeCron(given string) (string, error) {
	parts := strings.Fields(given)
	fields := cronFields()
	if len(parts) == len(fields)+1 || len(parts) == len(fields)+2 {
		return "", fmt.Errorf("has %d fields; Kubernetes knows no seconds and no years, give minute, hour, day, month and day of the week", len(parts))
	}
	if len(parts) != len(fields) {
		return strings.Join(parts, " "), nil // The parser says what is wrong.
	}
	for i, field := range fields {
		var out []string
		for entry := range strings.SplitSeq(parts[i], ",") {
			normalized, err := field.normalize(entry)
			if err != nil {
				return "", err
			}
			if !slices.Contains(out, normalized) {
				out = append(out, normalized)
			}
		}
		parts[i] = strings.Join(out, ",")
	}
	return strings.Join(parts, " "), nil
}

// normalize writes one entry of a field's list.
func (f cronField) normalize(entry string) (string, error) {
	span, stepText, stepped := strings.Cut(entry, "/")
	if special := strings.ToUpper(span); strings.ContainsAny(special, "#") || special == "L" || special == "W" || special == "H" || special == "R" ||
		len(special) == 2 && strings.HasSuffix(special, "L") || strings.HasSuffix(special, "W") && f.name == "day of the month" {
		return "", fmt.Errorf("has %q as %s, which Kubernetes does not know: it has no last days (L), weekdays (W), nth days (#) and hashes (H)", entry, f.name)
	}
	fromText, toText, ranged := strings.Cut(span, "-")
	from, ok := f.value(fromText)
	if !ok {
		return entry, nil // * and ?, and what the parser refuses.
	}
	last := f.max
	if f.isWeek() {
		last = len(f.names) - 1
	}
	if !ranged {
		if f.isWeek() && from == f.max {
			return "0", nil
		}
		return entry, nil
	}
	to, ok := f.value(toText)
	step, err := 1, error(nil)
	if stepped {
		step, err = strconv.Atoi(stepText)
	}
	if !ok || err != nil || step < 1 || from <= to && to <= last {
		return entry, nil
	}
	if from > to { // Over the end.
		to += last - f.min + 1
	}
	var values []string
	for value := from; value <= to; value += step {
		text := strconv.Itoa((value-f.min)%(last-f.min+1) + f.min)
		if !slices.Contains(values, text) {
			values = append(values, text)
		}
	}
	return strings.Join(values, ","), nil
}

func (f cronField) isWeek() bool { return f.min == 0 && len(f.names) > 0 }

// value reads a number or a name.
func (f cronField) value(text string) (int, bool) {
	if i := slices.Index(f.names, strings.ToLower(text)); i >= 0 {
		return f.min + i, true
	}
	number, err := strconv.Atoi(text)
	return number, err == nil && number >= f.min && number <= f.max
}
