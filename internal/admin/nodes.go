package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/internal/httpserver"
	"github.com/sluicehq/sluice/internal/lograte"
	"github.com/sluicehq/sluice/socket"
)

// nodesTimeout is how long the other nodes have to answer. Who has not by then is named.
const nodesTimeout = 500 * time.Millisecond

// Kinds of requests between nodes. Their answers are what the API answers for one node,
// as JSON; a list is asked for with its limit.
const (
	askTopics  = "admin.topics"
	askSockets = "admin.sockets"
	askStats   = "admin.stats"
)

// Answer has the bus answer what the API of other nodes asks. Call it before the bus runs.
func Answer(c Config) {
	a := &api{Config: c, throttle: lograte.New(failuresEvery)}
	c.Bus.Answer(askTopics, listed(func(limit int) any { return a.topics(limit) }))
	c.Bus.Answer(askSockets, listed(func(limit int) any { return a.sockets(limit) }))
	c.Bus.Answer(askStats, func(context.Context, cluster.Message) ([]byte, error) { return json.Marshal(a.stats()) })
}

// listed answers with a list up to the limit that is asked for, or a shorter one, as the
// bus can carry.
func listed(list func(limit int) any) func(context.Context, cluster.Message) ([]byte, error) {
	return func(_ context.Context, m cluster.Message) ([]byte, error) {
		limit, err := strconv.Atoi(string(m.Data))
		if err != nil || limit < 0 || limit > maxLimit {
			return nil, fmt.Errorf("the limit is %q, not a number from 0 to %d", m.Data, maxLimit)
		}
		for ; ; limit /= 2 {
			text, err := json.Marshal(list(limit))
			if err != nil || len(text) <= cluster.MaxData || limit == 0 {
				return text, err
			}
		}
	}
}

// nodeInfo is a node as GET /api/nodes shows it.
type nodeInfo struct {
	cluster.Node
	Self bool `json:"self,omitempty"` // the one that answers
}

// unanswered is a node that could not say what it was asked.
type unanswered struct {
	Node   string `json:"node"`
	Reason string `json:"reason"`
}

// getNodes lists the nodes that this one knows to be there, itself among them.
func (a *api) getNodes(w http.ResponseWriter, _ *http.Request) {
	httpserver.Answer(w, http.StatusOK, struct {
		Nodes []nodeInfo `json:"nodes"`
		busState
	}{a.nodes(), a.busState()})
}

func (a *api) nodes() []nodeInfo {
	nodes := []nodeInfo{{a.Bus.Self(), true}}
	for _, node := range a.Bus.Nodes() {
		nodes = append(nodes, nodeInfo{node, false})
	}
	slices.SortFunc(nodes, func(x, y nodeInfo) int { return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.ID, y.ID)) })
	return nodes
}

// busState says whether this node can talk to others.
type busState struct {
	Connected bool   `json:"connected"`
	Reason    string `json:"reason,omitempty"` // why it is not
}

func (a *api) busState() busState {
	if err := a.Bus.Connected(); err != nil {
		return busState{false, err.Error()}
	}
	return busState{Connected: true}
}

// readNodes tells whether a request is about all nodes, or answers what is wrong with it.
func readNodes(w http.ResponseWriter, r *http.Request) (all, ok bool) {
	switch given := r.URL.Query().Get("nodes"); given {
	case "", "all":
		return given == "all", true
	default:
		httpserver.Refuse(w, http.StatusBadRequest, "nodes is "+strconv.Quote(given), "nodes=all, or nothing for this node alone")
		return false, false
	}
}

// askAll asks all other nodes. take is called with each answer that there is; the nodes
// of which there is none are returned.
func askAll[T any](ctx context.Context, bus cluster.Bus, kind, data string, take func(node cluster.Node, answer T)) []unanswered {
	ctx, cancel := context.WithTimeout(ctx, nodesTimeout)
	defer cancel()
	missing := []unanswered{}
	if err := bus.Connected(); err != nil {
		missing = append(missing, unanswered{"", err.Error()}) // nobody knows who else there is
	}
	for _, reply := range bus.RequestAll(ctx, kind, []byte(data)) {
		var answer T
		err := reply.Err
		if err == nil {
			err = json.Unmarshal(reply.Data, &answer)
		}
		if err != nil {
			missing = append(missing, unanswered{reply.Node.Name, err.Error()})
			continue
		}
		take(reply.Node, answer)
	}
	return missing
}

// allTopics adds up who watches what, on all nodes.
func (a *api) allTopics(ctx context.Context, limit int) any {
	own := a.topics(limit)
	topics, total := map[string]topicInfo{}, own.Total
	add := func(list []topicInfo) {
		for _, each := range list {
			known := topics[each.Topic] // the nodes that have it are sent the same messages
			topics[each.Topic] = topicInfo{each.Topic, known.Channels + each.Channels, max(known.Rate, each.Rate)}
		}
	}
	add(own.Topics)
	missing := askAll(ctx, a.Bus, askTopics, strconv.Itoa(limit), func(_ cluster.Node, answer topicList) {
		add(answer.Topics)
		total += answer.Total
	})
	merged := topicList{Topics: slices.AppendSeq([]topicInfo{}, maps.Values(topics)), Total: total}
	slices.SortFunc(merged.Topics, func(x, y topicInfo) int {
		return cmp.Or(cmp.Compare(y.Channels, x.Channels), cmp.Compare(x.Topic, y.Topic))
	})
	merged.Topics = merged.Topics[:min(limit, len(merged.Topics))]
	return struct {
		topicList
		Unanswered []unanswered `json:"unanswered"`
	}{merged, missing}
}

// nodeSocket is a connection, and which node has it.
type nodeSocket struct {
	socket.SocketInfo
	Node string `json:"node"`
}

// allSockets lists the connections of all nodes, the oldest first.
func (a *api) allSockets(ctx context.Context, limit int) any {
	list, total := []nodeSocket{}, 0
	add := func(node string, answer socketList) {
		for _, each := range answer.Sockets {
			list = append(list, nodeSocket{each, node})
		}
		total += answer.Total
	}
	add(a.NodeName, a.sockets(limit))
	missing := askAll(ctx, a.Bus, askSockets, strconv.Itoa(limit), func(node cluster.Node, answer socketList) { add(node.Name, answer) })
	slices.SortStableFunc(list, func(x, y nodeSocket) int { return x.Opened.Compare(y.Opened) })
	return struct {
		Sockets    []nodeSocket `json:"sockets"`
		Total      int          `json:"total"`
		Unanswered []unanswered `json:"unanswered"`
	}{list[:min(limit, len(list))], total, missing}
}

// allStats is what each node has done.
func (a *api) allStats(ctx context.Context) any {
	nodes := []stats{a.stats()}
	missing := askAll(ctx, a.Bus, askStats, "", func(_ cluster.Node, answer stats) { nodes = append(nodes, answer) })
	slices.SortStableFunc(nodes, func(x, y stats) int { return cmp.Compare(x.Node, y.Node) })
	return struct {
		Nodes      []stats      `json:"nodes"`
		Unanswered []unanswered `json:"unanswered"`
	}{nodes, missing}
}
