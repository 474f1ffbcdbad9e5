// Reads deploy/compose.yaml with compose's own loader and deploy/k8s strictly into Kubernetes' own types.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"
)

func fail(where string, err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", where, err)
		os.Exit(1)
	}
}

func main() {
	deploy := os.Args[1]
	options, err := cli.NewProjectOptions([]string{filepath.Join(deploy, "compose.yaml")}, cli.WithEnv([]string{
		"RELAY_HOST=h", "RELAY_URL=https://h", "S3_SECRET_KEY=s", "GRAFANA_PASSWORD=g"}))
	fail("compose", err)
	project, err := options.LoadProject(context.Background())
	fail("compose.yaml", err)
	fmt.Println("compose.yaml:", strings.Join(project.ServiceNames(), ", "))
	files, err := filepath.Glob(filepath.Join(deploy, "k8s", "*.yaml"))
	fail("k8s", err)
	for _, file := range files {
		content, err := os.ReadFile(file)
		fail(file, err)
		for _, document := range strings.Split(string(content), "\n---\n") {
			var head struct{ Kind, APIVersion string }
			fail(file, yaml.Unmarshal([]byte(document), &head))
			shapes := map[string]any{
				"v1/Namespace": &core.Namespace{}, "v1/ConfigMap": &core.ConfigMap{}, "v1/Service": &core.Service{},
				"apps/v1/StatefulSet": &apps.StatefulSet{}, "networking.k8s.io/v1/NetworkPolicy": &networking.NetworkPolicy{},
				"monitoring.coreos.com/v1/PodMonitor": &monitoring.PodMonitor{},
			}
			name := head.APIVersion + "/" + head.Kind
			if strings.HasPrefix(name, "kustomize.config.k8s.io/") {
				continue // kubectl kustomize reads that
			}
			shape, known := shapes[name]
			if !known {
				fail(file, fmt.Errorf("no type for %s", name))
			}
			fail(file, yaml.UnmarshalStrict([]byte(document), shape))
			fmt.Println(filepath.Base(file)+":", head.Kind)
		}
	}
}
