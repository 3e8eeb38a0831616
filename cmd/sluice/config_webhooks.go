package main

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/sluicehq/sluice"
)

// webhooksKey is a setting that only a file can give: where events are sent to.
const webhooksKey = "webhooks"

// webhooksHint says what may stand there.
const webhooksHint = "a webhook has name, url, match and secret-file, and may have batch, batch-bytes, timeout, give-up-after and start"

// webhooksField is a field of a webhook, as a [sluice.FieldError] names it.
var webhooksField = regexp.MustCompile(`^Webhooks\[(\d+)\]\.(\w+)$`)

// webhookName is how a webhook is called, counted from 1.
func webhookName(index int) string { return fmt.Sprintf("%s: webhook %d", webhooksKey, index+1) }

// readWebhooks reads the list below the key webhooks.
func (r *configResolver) readWebhooks(path string, pair *ast.MappingValueNode) {
	r.file.places[webhooksKey] = placeAt(path, pair.Key)
	sequence, ok := unanchored(pair.Value).(*ast.SequenceNode)
	if !ok {
		r.fault(placeAt(path, pair.Key), webhooksKey, true, "%s: expected %s, not %s; %s", webhooksKey, shapes[ast.SequenceType], shapes[pair.Value.Type()], webhooksHint)
		return
	}
	r.file.webhooks = make([]sluice.Webhook, len(sequence.Values))
	for i, entry := range sequence.Values {
		name := webhookName(i)
		r.file.places[name] = placeAt(path, entry)
		if mapping, ok := unanchored(entry).(*ast.MappingNode); ok && len(mapping.Values) > 0 {
			r.file.places[name] = placeAt(path, mapping.Values[0].Key)
		}
		r.readFields(path, name, webhooksHint, entry, reflect.ValueOf(&r.file.webhooks[i]).Elem())
	}
}

// describeWebhooks tells of the webhooks of a file, as comments.
func describeWebhooks(out *strings.Builder, file configFile) {
	for i, w := range file.webhooks {
		setting := webhookName(i)
		fmt.Fprintf(out, "# %s: %s: %q to %s  # %v\n", setting, w.Name, w.Match, secretless(w.URL), file.places[setting])
	}
}
