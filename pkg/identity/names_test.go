package identity

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/util/validation"
)

func TestNamesOf(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("very-long-name-", 17)
	cases := map[string]struct {
		reason      string
		name, other string
	}{
		"Short":      {reason: "a name that fits is taken as it is", name: "orders", other: "bills"},
		"Upper":      {reason: "case is lost in a Kubernetes name", name: "Orders", other: "orders"},
		"Characters": {reason: "characters are replaced by the same one", name: "a.b", other: "a b"},
		"Long":       {reason: "names are cut at the same place", name: long + "a", other: long + "b"},
		"Unicode":    {reason: "nothing of the name is left", name: "\u8ba2\u5355", other: "\u8d26\u5355"},
		"Dashes":     {reason: "a name must not end in a dash", name: "-", other: "--"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			names := NamesOf(tc.name, "svc."+tc.name)
			checkNames(t, names)
			assert.NotEqual(t, names, NamesOf(tc.other, "svc."+tc.other), tc.reason)
		})
	}
	names := NamesOf("orders", "svc.orders")
	assert.Equal(t, []string{"om-config-orders", "om-secret-orders", "om-cronjob-orders", "orders", "om-revision-orders-7"},
		[]string{names.ConfigMap, names.Secret, names.CronJob, names.Label, names.Revision(7)})
	hashed := HashedNamesOf("orders", "svc.orders")
	assert.Regexp(t, "^om-config-orders-[0-9a-f]{8}$", hashed.ConfigMap, "for the second pipeline of the name")
	assert.Regexp(t, "^om-revision-orders-[0-9a-f]{8}-7$", hashed.Revision(7))
	assert.Len(t, Candidates("orders", "svc.orders"), 2)
	assert.Len(t, Candidates("Orders", "svc.Orders"), 1, "a name that has to be changed has a hash anyway")
	assert.Equal(t, "om-job-orders-01234567", JobName("orders", "svc.orders", "01234567-89ab-cdef-0123-456789abcdef"))
}

func FuzzNamesOf(f *testing.F) {
	names := []string{"", "orders", "Orders", "a.b", "a b", "\u8ba2\u5355", strings.Repeat("x", 256), strings.Repeat("x", 255), "-", "--", "A_b/c"}
	for _, name := range names {
		for _, other := range names {
			f.Add(name, other)
		}
	}
	f.Fuzz(func(t *testing.T, name, other string) {
		const runID = "01234567-89ab-cdef-0123-456789abcdef"
		fqn, otherFQN := "svc."+name, "svc."+other
		checkNames(t, NamesOf(name, fqn))
		checkNames(t, HashedNamesOf(name, fqn))
		assert.Empty(t, validation.IsDNS1123Label(JobName(name, fqn, runID)))
		// Two pipelines of one service never share a name, nor do two of one name in two services where the second is hashed.
		twin := "other." + name
		pairs := [][2]ObjectNames{{NamesOf(name, fqn), HashedNamesOf(name, twin)}, {HashedNamesOf(name, fqn), HashedNamesOf(name, twin)}}
		if name != other {
			pairs = append(pairs, [2]ObjectNames{NamesOf(name, fqn), NamesOf(other, otherFQN)}, [2]ObjectNames{HashedNamesOf(name, fqn), HashedNamesOf(other, otherFQN)})
			assert.NotEqual(t, JobName(name, fqn, runID), JobName(other, otherFQN, runID))
		}
		for _, pair := range pairs {
			assert.NotEqual(t, pair[0].ConfigMap, pair[1].ConfigMap)
			assert.NotEqual(t, pair[0].Secret, pair[1].Secret)
			assert.NotEqual(t, pair[0].CronJob, pair[1].CronJob)
			assert.NotEqual(t, pair[0].Label, pair[1].Label)
			assert.NotEqual(t, pair[0].Revision(1), pair[1].Revision(1))
		}
	})
}

func checkNames(t *testing.T, names ObjectNames) {
	t.Helper()
	for _, name := range []string{names.ConfigMap, names.Secret, names.CronJob} {
		assert.Empty(t, validation.IsDNS1123Label(name), name)
	}
	assert.LessOrEqual(t, len(names.CronJob), maxCronJobName)
	assert.Empty(t, validation.IsValidLabelValue(names.Label))
}
