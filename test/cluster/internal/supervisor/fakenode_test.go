package supervisor

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestFakeNode(t *testing.T) {
	verbs := func(client *fake.Clientset) (done []string) {
		for _, action := range client.Actions() {
			done = append(done, action.GetVerb()+" "+action.GetResource().Resource)
		}
		return done
	}
	client := fake.NewClientset()
	require.NoError(t, renewFakeNode(t.Context(), client))
	require.NoError(t, renewFakeNode(t.Context(), client))
	assert.Equal(t, []string{
		"get nodes", "create nodes", "patch nodes", "patch leases",
		"get nodes", "patch nodes", "patch leases",
	}, verbs(client), "it is made once")

	errDown := errors.New("the API server is not there")
	client = fake.NewClientset()
	client.PrependReactor("get", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, errDown })
	require.ErrorIs(t, renewFakeNode(t.Context(), client), errDown)
	assert.Equal(t, []string{"get nodes"}, verbs(client), "a node that cannot be read is not made anew")
}
