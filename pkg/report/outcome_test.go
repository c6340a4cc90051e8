package report

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
)

func TestOutcomeOf(t *testing.T) {
	t.Parallel()
	condition := func(kind batchv1.JobConditionType, status corev1.ConditionStatus) batchv1.JobCondition {
		return batchv1.JobCondition{Type: kind, Status: status}
	}
	now := metav1.Now()
	stopped := map[string]string{identity.AnnotationStopRequested: "2026-01-02T03:04:05Z"}
	cases := map[string]struct {
		reason     string
		meta       metav1.ObjectMeta
		conditions []batchv1.JobCondition
		want       Outcome
	}{
		"New":             {reason: "nothing is decided yet", want: Undecided},
		"Complete":        {reason: "it is over", conditions: []batchv1.JobCondition{condition(batchv1.JobComplete, corev1.ConditionTrue)}, want: Complete},
		"SuccessCriteria": {reason: "it is decided while pods still end", conditions: []batchv1.JobCondition{condition(batchv1.JobSuccessCriteriaMet, corev1.ConditionTrue)}, want: Complete},
		"Failed":          {reason: "it is over", conditions: []batchv1.JobCondition{condition(batchv1.JobFailed, corev1.ConditionTrue)}, want: Failed},
		"FailureTarget":   {reason: "it is decided while pods still end", conditions: []batchv1.JobCondition{condition(batchv1.JobFailureTarget, corev1.ConditionTrue)}, want: Failed},
		"NotTrue": {
			reason:     "a condition that is false or unknown says nothing",
			conditions: []batchv1.JobCondition{condition(batchv1.JobFailed, corev1.ConditionFalse), condition(batchv1.JobComplete, corev1.ConditionUnknown)}, want: Undecided,
		},
		"Suspended":    {reason: "a Job that waits goes on later", conditions: []batchv1.JobCondition{condition(batchv1.JobSuspended, corev1.ConditionTrue)}, want: Undecided},
		"Deleted":      {reason: "no retry will come", meta: metav1.ObjectMeta{DeletionTimestamp: &now}, want: Failed},
		"DeletedAfter": {reason: "its end came first", meta: metav1.ObjectMeta{DeletionTimestamp: &now}, conditions: []batchv1.JobCondition{condition(batchv1.JobComplete, corev1.ConditionTrue)}, want: Complete},
		"Stopped":      {reason: "a kill suspends the Job, then its pods end", meta: metav1.ObjectMeta{Annotations: stopped}, conditions: []batchv1.JobCondition{condition(batchv1.JobSuspended, corev1.ConditionTrue)}, want: Stopped},
		"StoppedFailed": {
			reason: "the pods of a killed run fail, which does not make it a failure",
			meta:   metav1.ObjectMeta{Annotations: stopped}, conditions: []batchv1.JobCondition{condition(batchv1.JobFailed, corev1.ConditionTrue)}, want: Stopped,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			job := &batchv1.Job{ObjectMeta: tc.meta, Status: batchv1.JobStatus{Conditions: tc.conditions}}
			assert.Equal(t, tc.want, OutcomeOf(job), tc.reason)
		})
	}
	assert.Equal(t, Undecided, OutcomeOf(nil), "a Job that cannot be read decides nothing")
}

func TestTimestampOf(t *testing.T) {
	t.Parallel()
	created := metav1.NewTime(time.UnixMilli(started))
	cases := map[string]struct {
		reason      string
		annotations map[string]string
		want        int64
	}{
		"Chosen":    {reason: "the client wrote the record with it", annotations: map[string]string{identity.AnnotationTimestamp: "1700000000123"}, want: 1_700_000_000_123},
		"Scheduled": {reason: "nobody chose one, and two Jobs may be created in one second", want: started + 169},
		"Broken":    {reason: "an annotation can be edited", annotations: map[string]string{identity.AnnotationTimestamp: "soon"}, want: started + 169},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{UID: "0190b0a0-7c1e-4b7e-9d3e-0a1b2c3d4e5f", Annotations: tc.annotations, CreationTimestamp: created}}
			assert.Equal(t, tc.want, TimestampOf(job), tc.reason)
		})
	}
}
