// The peer of the benchmark bench_xds: go-control-plane's own server over three of its caches.
//
// It serves the resources of a file that the benchmark wrote (each one: a byte for the type, the
// length as 4 bytes little endian, the message) and takes commands on its standard input, one a
// line; it ends with its input. Nothing is tuned: caches and server are as the library makes them.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// Everything that is served, by type and name.
type world map[resource.Type]map[string]types.Resource

// A cache in one of the ways in which it is used.
type served interface {
	cache() cache.Cache
	// connected is called when a stream names its node.
	connected(node string) error
	// changed is called when one assignment is another one.
	changed(assignment *endpoint.ClusterLoadAssignment) error
}

// The snapshots of one cache: one for each node, or one for all.
type snapshots struct {
	mu      sync.Mutex
	world   world
	version uint64
	perNode bool
	inner   cache.SnapshotCache
	nodes   map[string]bool
}

// One linear cache for each type.
type linear struct {
	mux    *cache.MuxCache
	caches map[resource.Type]*cache.LinearCache
}

// All nodes have one hash, and so one snapshot.
type sameForAll struct{}

func (sameForAll) ID(*core.Node) string { return "all" }

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where to serve")
	data := flag.String("data", "", "the file of resources")
	mode := flag.String("mode", "per-node", "per-node, shared or linear")
	flag.Parse()
	world, err := read(*data)
	must(err)
	var served served
	switch *mode {
	case "per-node":
		served = newSnapshots(world, true)
	case "shared":
		served = newSnapshots(world, false)
	case "linear":
		served = newLinear(world)
	default:
		log.Fatalf("-mode %s: there are per-node, shared and linear", *mode)
	}
	socket, err := net.Listen("tcp", *listen)
	must(err)
	callbacks := server.CallbackFuncs{
		StreamRequestFunc: func(_ int64, request *discovery.DiscoveryRequest) error {
			return connected(served, request.GetNode())
		},
		StreamDeltaRequestFunc: func(_ int64, request *discovery.DeltaDiscoveryRequest) error {
			return connected(served, request.GetNode())
		},
	}
	grpcServer := grpc.NewServer()
	ads := server.NewServer(context.Background(), served.cache(), callbacks)
	discovery.RegisterAggregatedDiscoveryServiceServer(grpcServer, ads)
	go func() { must(grpcServer.Serve(socket)) }()
	fmt.Printf("listening %s\n", socket.Addr())
	must(obey(served))
}

// Only a stream's first request names its node.
func connected(served served, node *core.Node) error {
	if node.GetId() == "" {
		return nil
	}
	return served.connected(node.GetId())
}

// change <an assignment in hex> | gc
func obey(served served) error {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		command, argument, _ := strings.Cut(lines.Text(), " ")
		switch command {
		case "change":
			raw, err := hex.DecodeString(argument)
			if err != nil {
				return err
			}
			assignment := &endpoint.ClusterLoadAssignment{}
			if err := proto.Unmarshal(raw, assignment); err != nil {
				return err
			}
			started := time.Now()
			if err := served.changed(assignment); err != nil {
				return err
			}
			fmt.Printf("changed %d %d\n", started.UnixNano(), time.Since(started).Nanoseconds())
		case "gc":
			debug.FreeOSMemory()
			fmt.Println("collected")
		default:
			return fmt.Errorf("%s: there are change and gc", command)
		}
	}
	return lines.Err()
}

func read(path string) (world, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	world := world{resource.ClusterType: {}, resource.EndpointType: {}, resource.ListenerType: {}}
	for len(raw) > 5 {
		kind, size := raw[0], int(binary.LittleEndian.Uint32(raw[1:5]))
		message := raw[5 : 5+size]
		raw = raw[5+size:]
		var typeURL resource.Type
		var into types.Resource
		switch kind {
		case 'c':
			typeURL, into = resource.ClusterType, &cluster.Cluster{}
		case 'e':
			typeURL, into = resource.EndpointType, &endpoint.ClusterLoadAssignment{}
		case 'l':
			typeURL, into = resource.ListenerType, &listener.Listener{}
		default:
			return nil, fmt.Errorf("%s: a resource of type %q", path, kind)
		}
		if err := proto.Unmarshal(message, into); err != nil {
			return nil, err
		}
		world[typeURL][cache.GetResourceName(into)] = into
	}
	return world, nil
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func newSnapshots(world world, perNode bool) *snapshots {
	var hash cache.NodeHash = sameForAll{}
	if perNode {
		hash = cache.IDHash{}
	}
	return &snapshots{
		world:   world,
		version: 1,
		perNode: perNode,
		inner:   cache.NewSnapshotCache(true, hash, nil),
		nodes:   map[string]bool{},
	}
}

func (s *snapshots) cache() cache.Cache { return s.inner }

func (s *snapshots) connected(node string) error {
	if !s.perNode {
		node = sameForAll{}.ID(nil)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nodes[node] {
		return nil
	}
	s.nodes[node] = true
	return s.set(node)
}

func (s *snapshots) changed(assignment *endpoint.ClusterLoadAssignment) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.world[resource.EndpointType][assignment.GetClusterName()] = assignment
	s.version++
	for node := range s.nodes {
		if err := s.set(node); err != nil {
			return err
		}
	}
	return nil
}

func (s *snapshots) set(node string) error {
	resources := map[resource.Type][]types.Resource{}
	for typeURL, named := range s.world {
		for _, one := range named {
			resources[typeURL] = append(resources[typeURL], one)
		}
	}
	snapshot, err := cache.NewSnapshot(strconv.FormatUint(s.version, 10), resources)
	if err != nil {
		return err
	}
	return s.inner.SetSnapshot(context.Background(), node, snapshot)
}

func newLinear(world world) *linear {
	caches := map[resource.Type]*cache.LinearCache{}
	muxed := map[string]cache.Cache{}
	for typeURL, named := range world {
		caches[typeURL] = cache.NewLinearCache(typeURL, cache.WithInitialResources(named))
		muxed[typeURL] = caches[typeURL]
	}
	return &linear{
		caches: caches,
		mux: &cache.MuxCache{
			Classify:      func(request *cache.Request) string { return request.GetTypeUrl() },
			ClassifyDelta: func(request *cache.DeltaRequest) string { return request.GetTypeUrl() },
			Caches:        muxed,
		},
	}
}

func (l *linear) cache() cache.Cache { return l.mux }

func (l *linear) connected(string) error { return nil }

func (l *linear) changed(assignment *endpoint.ClusterLoadAssignment) error {
	return l.caches[resource.EndpointType].UpdateResource(assignment.GetClusterName(), assignment)
}
