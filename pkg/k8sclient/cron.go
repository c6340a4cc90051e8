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
	if f.isExtension(span) {
		return "", fmt.Errorf("has %q as %s, which Kubernetes does not know: it has no last days (L), weekdays (W), nth days (#) and hashes (H)", entry, f.name)
	}
	fromText, toText, ranged := strings.Cut(span, "-")
	from, ok := f.value(fromText)
	if !ok {
		return entry, nil // * and ?, and what the parser refuses.
	}
	if !ranged {
		if f.isWeek() && from == f.max {
			return "0", nil
		}
		return entry, nil
	}
	to, ok := f.value(toText)
	step, stepOK := 1, true
	if stepped {
		step, stepOK = stepOf(stepText)
	}
	if !ok || !stepOK || from <= to && to <= f.last() {
		return entry, nil // A range that the parser reads as it is, or refuses.
	}
	return strings.Join(f.valuesOf(from, to, step), ","), nil
}

// isExtension says whether a value has a form that other cron parsers know and Kubernetes does not.
func (f cronField) isExtension(span string) bool {
	upper := strings.ToUpper(span)
	switch {
	case strings.Contains(upper, "#"), slices.Contains([]string{"L", "W", "H", "R"}, upper):
		return true
	case len(upper) == 2 && strings.HasSuffix(upper, "L"):
		return true
	default:
		return f.name == "day of the month" && strings.HasSuffix(upper, "W")
	}
}

// stepOf reads the step of a range; ok if it is a positive number.
func stepOf(text string) (step int, ok bool) {
	step, err := strconv.Atoi(text)
	return step, err == nil && step >= 1
}

// last is the largest value that Kubernetes knows.
func (f cronField) last() int {
	if f.isWeek() {
		return len(f.names) - 1
	}
	return f.max
}

// valuesOf lists the values of a range, which may go over the end.
func (f cronField) valuesOf(from, to, step int) []string {
	count := f.last() - f.min + 1
	if from > to {
		to += count
	}
	step = min(step, to-from+1) // A longer step skips no more, and could overflow.
	var values []string
	for value := from; value <= to; value += step {
		text := strconv.Itoa((value-f.min)%count + f.min)
		if !slices.Contains(values, text) {
			values = append(values, text)
		}
	}
	return values
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
