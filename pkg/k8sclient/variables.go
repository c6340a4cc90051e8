package k8sclient

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// A secret variable of the user's whose value changes gets another key in the Secret, env2.NAME after env.NAME, since the
// Secret is written before the CronJob that refers to it: whichever of the two a deploy that is cut off has reached, a run has
// the values that belong to it.

var variableKeyPattern = regexp.MustCompile(`^env(\d*)\.(.+)$`)

// parseVariableKey takes a Secret's key apart.
func parseVariableKey(key string) (name string, version int, ok bool) {
	match := variableKeyPattern.FindStringSubmatch(key)
	if match == nil {
		return "", 0, false
	}
	version, err := strconv.Atoi(match[1])
	if err != nil {
		version = 1
	}
	return match[2], version, true
}

func versionedKey(name string, version int) string {
	if version == 1 {
		return variableKey(name)
	}
	return fmt.Sprintf("env%d.%s", version, name)
}

// newestVersion is 0 where there is none.
func newestVersion(data map[string][]byte, name string) int {
	newest := 0
	for key := range data {
		if other, version, ok := parseVariableKey(key); ok && other == name {
			newest = max(newest, version)
		}
	}
	return newest
}

// variableKeys are the keys of variables that have another one than that of a first deploy, by that one.
type variableKeys map[string]string

// findVariables finds the keys under which a Secret has the values; missing are those that it has not.
func findVariables(wanted, data map[string][]byte) (keys variableKeys, missing []string) {
	keys = variableKeys{}
	for _, first := range slices.Sorted(maps.Keys(wanted)) {
		name, _, ok := parseVariableKey(first)
		if !ok {
			continue
		}
		found := ""
		for key, value := range data {
			other, version, ok := parseVariableKey(key)
			if !ok || other != name || !bytes.Equal(value, wanted[first]) {
				continue
			}
			if _, newest, _ := parseVariableKey(found); found == "" || version > newest {
				found = key
			}
		}
		switch {
		case found == "":
			missing = append(missing, first)
		case found != first:
			keys[first] = found
		}
	}
	return keys, missing
}

// use makes a Job refer to the keys.
func (k variableKeys) use(spec *batchv1.JobSpec, secret string) {
	if len(k) == 0 {
		return
	}
	for _, containers := range [][]corev1.Container{spec.Template.Spec.InitContainers, spec.Template.Spec.Containers} {
		for i := range containers {
			for n := range containers[i].Env {
				source := containers[i].Env[n].ValueFrom
				if source == nil || source.SecretKeyRef == nil || source.SecretKeyRef.Name != secret {
					continue
				}
				if key, ok := k[source.SecretKeyRef.Key]; ok {
					source.SecretKeyRef.Key = key
				}
			}
		}
	}
}

// usedKeys are those of a Secret that a CronJob refers to.
func usedKeys(cronJob *batchv1.CronJob, secret string) []string {
	if cronJob == nil {
		return nil
	}
	var out []string
	spec := &cronJob.Spec.JobTemplate.Spec.Template.Spec
	for _, container := range slices.Concat(spec.InitContainers, spec.Containers) {
		for _, variable := range container.Env {
			if source := variable.ValueFrom; source != nil && source.SecretKeyRef != nil && source.SecretKeyRef.Name == secret {
				out = append(out, source.SecretKeyRef.Key)
			}
		}
	}
	return out
}
