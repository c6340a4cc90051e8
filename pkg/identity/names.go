package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"
)

// Kubernetes' bounds: a label value, and a CronJob's name, to which its controller appends 11 characters.
const (
	maxLabelValue  = 63
	maxCronJobName = 52
	hashLength     = 8
	runIDLength    = 8
)

const (
	configMapPrefix  = "om-config-"
	secretPrefix     = "om-secret-"
	cronJobPrefix    = "om-cronjob-"
	jobPrefix        = "om-job-"
	revisionPrefix   = "om-revision-"
	automationPrefix = "om-automation-"
	appPrefix        = "om-app-"
)

var outsideDNSLabel = regexp.MustCompile(`[^a-z0-9]+`)

// ObjectNames are the names of one pipeline's objects.
type ObjectNames struct {
	ConfigMap string
	Secret    string
	CronJob   string
	// Label is the value of the label app.kubernetes.io/pipeline.
	Label string
}

// NamesOf gives the names of the objects of a pipeline. A pipeline's name that has to be changed to fit gets a hash of
// its fully qualified name, so that two pipelines never share objects.
func NamesOf(name, fqn string) ObjectNames {
	return ObjectNames{
		ConfigMap: configMapPrefix + fit(name, fqn, maxLabelValue-len(configMapPrefix)),
		Secret:    secretPrefix + fit(name, fqn, maxLabelValue-len(secretPrefix)),
		CronJob:   cronJobPrefix + fit(name, fqn, maxCronJobName-len(cronJobPrefix)),
		Label:     fit(name, fqn, maxLabelValue),
	}
}

// JobName is the name of the Job of an on-demand run.
func JobName(name, fqn, runID string) string { return runName(jobPrefix, name, fqn, runID) }

// AutomationName is the name of the Job of an automation workflow, and of its Secret.
func AutomationName(name, runID string) string { return runName(automationPrefix, name, name, runID) }

// ApplicationName is the name of the Job of an application's run, and of its Secret.
func ApplicationName(name, runID string) string { return runName(appPrefix, name, name, runID) }

func runName(prefix, name, fqn, runID string) string {
	run := runID[:min(runIDLength, len(runID))]
	return prefix + fit(name, fqn, maxLabelValue-len(prefix)-len(run)-1) + "-" + run
}

// RevisionName is the name of the Secret that keeps an earlier configuration of a pipeline.
func RevisionName(name, fqn string, revision int64) string {
	number := "-" + strconv.FormatInt(revision, 10)
	return revisionPrefix + fit(name, fqn, maxLabelValue-len(revisionPrefix)-len(number)) + number
}

// LabelValue makes a label's value of any text.
func LabelValue(text string) string { return fit(text, text, maxLabelValue) }

func fit(name, fqn string, longest int) string {
	sanitised := strings.Trim(outsideDNSLabel.ReplaceAllString(strings.ToLower(name), "-"), "-")
	if name != "" && sanitised == name && len(name) <= longest {
		return name
	}
	sum := sha256.Sum256([]byte(fqn))
	hash := hex.EncodeToString(sum[:])[:hashLength]
	sanitised = strings.TrimRight(sanitised[:min(len(sanitised), longest-hashLength-1)], "-")
	if sanitised == "" {
		return hash
	}
	return sanitised + "-" + hash
}
