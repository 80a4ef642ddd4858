package server

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/parley-rtc/parley/protocol/turn"
	"github.com/parley-rtc/parley/server/relay"
	"github.com/parley-rtc/parley/signaling"
)

// metrics are what /metrics shows. No label holds a room, a peer or an address.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	refusals *prometheus.CounterVec
}

func newMetrics(hub *signaling.Hub, certs *certificates, turn *turnService, version string) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_http_requests_total", Help: "HTTP requests answered, WebSockets once they end.",
		}, []string{"code", "method"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_http_refusals_total", Help: "Requests refused before they reached anything, by code.",
		}, []string{"code"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "parley_build_info", Help: "Always 1; the label tells the version.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		build, m.requests, m.refusals,
		&hubCollector{hub}, &expiryCollector{certs},
	)
	if turn != nil {
		m.registry.MustRegister(&relayCollector{turn.relay})
	}
	for _, code := range refusalCodes {
		m.refusals.WithLabelValues(string(code)) // a counter that is there from the start can be alerted on
	}
	return m
}

func (m *metrics) refused(code signaling.Code) { m.refusals.WithLabelValues(string(code)).Inc() }

// count counts the answers of next.
func (m *metrics) count(next http.Handler) http.Handler {
	return promhttp.InstrumentHandlerCounter(m.requests, next)
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// hubCollector shows what the hub counts.
type hubCollector struct{ hub *signaling.Hub }

var (
	hubRooms      = prometheus.NewDesc("parley_rooms", "Rooms open now.", nil, nil)
	hubPeers      = prometheus.NewDesc("parley_peers", "Seats taken now, those whose connection dropped included.", nil, nil)
	hubCarriers   = prometheus.NewDesc("parley_signaling_carriers", "Seats connected now, by what carries their messages.", []string{"carrier"}, nil)
	hubSessions   = prometheus.NewDesc("parley_signaling_sessions_total", "Joins that were accepted.", nil, nil)
	hubResumes    = prometheus.NewDesc("parley_signaling_resumes_total", "Connections that took up a session.", nil, nil)
	hubMessages   = prometheus.NewDesc("parley_signaling_messages_total", "Messages, once each, by direction.", []string{"direction"}, nil)
	hubRefusals   = prometheus.NewDesc("parley_signaling_refusals_total", "Joins and messages refused, by code.", []string{"code"}, nil)
	certificateAt = prometheus.NewDesc("parley_certificate_expiry_timestamp_seconds", "When a certificate in use ends (Unix time).", []string{"source", "name"}, nil)
)

func (c *hubCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

func (c *hubCollector) Collect(ch chan<- prometheus.Metric) {
	stats := c.hub.Stats()
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(hubRooms, stats.Rooms)
	gauge(hubPeers, stats.Peers)
	gauge(hubCarriers, stats.WebSockets, "websocket")
	gauge(hubCarriers, stats.LongPolls, "long-poll")
	counter(hubSessions, stats.Sessions)
	counter(hubResumes, stats.Resumes)
	counter(hubMessages, stats.MessagesIn, "in")
	counter(hubMessages, stats.MessagesOut, "out")
	for code, n := range stats.Refusals {
		counter(hubRefusals, n, string(code))
	}
}

// expiryCollector shows when certificates end.
type expiryCollector struct{ certs *certificates }

func (c *expiryCollector) Describe(ch chan<- *prometheus.Desc) { ch <- certificateAt }

func (c *expiryCollector) Collect(ch chan<- prometheus.Metric) {
	c.certs.expiry(func(source, name string, end time.Time) {
		ch <- prometheus.MustNewConstMetric(certificateAt, prometheus.GaugeValue, float64(end.Unix()), source, name)
	})
}

// relayCollector shows what the relay counts.
type relayCollector struct{ relay *relay.Relay }

var (
	relayAllocations = prometheus.NewDesc("parley_relay_allocations", "Allocations now.", nil, nil)
	relayAllocated   = prometheus.NewDesc("parley_relay_allocations_total", "Allocations ever made.", nil, nil)
	relayStreams     = prometheus.NewDesc("parley_relay_streams", "Clients of the relay on tcp and tls now.", nil, nil)
	relayBindings    = prometheus.NewDesc("parley_relay_bindings_total", "STUN Binding requests answered.", nil, nil)
	relayBytes       = prometheus.NewDesc("parley_relay_bytes_total", "Bytes relayed, by direction: up is from the client.", []string{"direction"}, nil)
	relayPackets     = prometheus.NewDesc("parley_relay_packets_total", "Datagrams relayed, by direction.", []string{"direction"}, nil)
	relayHandedOver  = prometheus.NewDesc("parley_relay_handed_over_total", "Datagrams from one allocation to another, inside the server.", nil, nil)
	relayDropped     = prometheus.NewDesc("parley_relay_dropped_total", "Packets that went no further, by reason.", []string{"reason"}, nil)
	relayRefused     = prometheus.NewDesc("parley_relay_streams_refused_total", "Clients on tcp, tls and dtls refused because there were too many.", nil, nil)
	relayDTLS        = prometheus.NewDesc("parley_relay_dtls_associations", "Clients of the relay on dtls now.", nil, nil)
	relayHandshakes  = prometheus.NewDesc("parley_relay_dtls_handshakes_total", "DTLS handshakes of clients who returned a cookie, by what became of them.", []string{"result"}, nil)
	relayCookies     = prometheus.NewDesc("parley_relay_dtls_cookies_total", "Answers to clients on dtls who had not returned a cookie yet.", nil, nil)
	relayStrays      = prometheus.NewDesc("parley_relay_dtls_dropped_total", "Datagrams from and to no association of DTLS.", nil, nil)
)

func (c *relayCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

func (c *relayCollector) Collect(ch chan<- prometheus.Metric) {
	stats := c.relay.Stats()
	gauge := func(d *prometheus.Desc, v int) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v))
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(relayAllocations, stats.Turn.Allocations)
	gauge(relayStreams, stats.Streams)
	counter(relayAllocated, stats.Turn.Allocated)
	counter(relayBindings, stats.Turn.Bindings)
	counter(relayBytes, stats.Turn.BytesUp, "up")
	counter(relayBytes, stats.Turn.BytesDown, "down")
	counter(relayPackets, stats.Turn.PacketsUp, "up")
	counter(relayPackets, stats.Turn.PacketsDown, "down")
	counter(relayHandedOver, stats.Turn.HandedOver)
	counter(relayRefused, stats.RefusedClients)
	gauge(relayDTLS, stats.DTLS.Associations)
	counter(relayHandshakes, stats.DTLS.Handshakes, "completed")
	counter(relayHandshakes, stats.DTLS.Failed, "failed")
	counter(relayHandshakes, stats.DTLS.Refused, "refused")
	counter(relayCookies, stats.DTLS.Cookies)
	counter(relayStrays, stats.DTLS.Dropped)
	for _, d := range turn.Drops() {
		counter(relayDropped, stats.Turn.Dropped[d], d.String())
	}
}
