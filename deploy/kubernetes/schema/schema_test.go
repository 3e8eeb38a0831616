// Package schema holds the Kubernetes manifests to the types that the API server reads
// them into. It is a module of its own, so that nobody who imports Sluice gets these.
package schema

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	strict "sigs.k8s.io/yaml"
)

// types are those that the manifests may have, by version and kind.
var types = map[metav1.TypeMeta]func() any{
	{APIVersion: "v1", Kind: "ConfigMap"}:                  func() any { return new(corev1.ConfigMap) },
	{APIVersion: "v1", Kind: "Service"}:                    func() any { return new(corev1.Service) },
	{APIVersion: "apps/v1", Kind: "StatefulSet"}:           func() any { return new(appsv1.StatefulSet) },
	{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"}: func() any { return new(policyv1.PodDisruptionBudget) },
}

// check reads each document of a manifest, and wants every field of it to be one of its
// type, of the right kind, and named once. It returns how many documents there are.
func check(manifest []byte) (documents int, failed error) {
	reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(manifest)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return documents, failed
		}
		if err != nil {
			return documents, errors.Join(failed, err)
		}
		documents++
		failed = errors.Join(failed, checkOne(document))
	}
}

func checkOne(document []byte) error {
	var kind metav1.TypeMeta
	if err := strict.Unmarshal(document, &kind); err != nil {
		return err
	}
	of, known := types[kind]
	if !known {
		return fmt.Errorf("%s %s is no type of these manifests: add it to types", kind.APIVersion, kind.Kind)
	}
	if err := strict.UnmarshalStrict(document, of()); err != nil {
		return fmt.Errorf("%s: %w", kind.Kind, err)
	}
	return nil
}

func TestManifestsHaveTheirTypes(t *testing.T) {
	files, err := filepath.Glob("../*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no manifests", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		documents, err := check(text)
		if err != nil || documents == 0 {
			t.Errorf("%s: %d documents: %v", file, documents, err)
		}
		t.Logf("%s: %d documents", file, documents)
	}
}

// TestFaultsOfManifests puts one fault at a time into what is deployed.
func TestFaultsOfManifests(t *testing.T) {
	text, err := os.ReadFile("../sluice.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for right, wrong := range map[string]string{
		"readinessProbe:":             "readynessProbe:",
		"maxUnavailable: 1":           "maxUnavailable: [1]",
		"replicas: 3":                 "replicas: three",
		"serviceName: sluice-nodes":   "serviceName: sluice-nodes\n  serviceName: sluice-nodes",
		"apiVersion: apps/v1":         "apiVersion: apps/v1beta1",
		"preStop: { sleep: { seconds": "preStop: { sleep: { second",
		"containerPort: 4000":         `containerPort: "4000"`,
	} {
		if _, err := check(bytes.Replace(text, []byte(right), []byte(wrong), 1)); err == nil {
			t.Errorf("%q in place of %q is no fault", wrong, right)
		} else {
			t.Log(err)
		}
	}
}
