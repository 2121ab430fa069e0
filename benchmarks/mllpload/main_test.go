package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// serve answers every frame with what answer returns (nil: close the connection without an answer).
func serve(t *testing.T, answer func(n int64, id string) []byte) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var n atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				br := bufio.NewReader(c)
				for {
					b, _, err := readFrame(br)
					if err != nil {
						return
					}
					a := answer(n.Add(1), string(bytes.Split(b, []byte("|"))[9]))
					if a == nil {
						return
					}
					c.Write(a)
				}
			}()
		}
	}()
	return l.Addr().String()
}

func ack(code, id string) []byte {
	return []byte("\x0bMSH|^~\\&|A|B|C|D|20260101||ACK|1|P|2.3\rMSA|" + code + "|" + id + "\r\x1c\r")
}

func load(t *testing.T, c config) map[string]any {
	t.Helper()
	c.conns, c.inflight = max(c.conns, 1), max(c.inflight, 1)
	if c.duration == 0 {
		c.duration = 5 * time.Second
	}
	if c.drain == 0 {
		c.drain = time.Second
	}
	if c.timeout == 0 {
		c.timeout = 2 * time.Second
	}
	r, err := newRun(c)
	if err != nil {
		t.Fatal(err)
	}
	res, err := r.do(nil)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func want(t *testing.T, res map[string]any, kv ...any) {
	t.Helper()
	for i := 0; i < len(kv); i += 2 {
		if got := fmt.Sprint(res[kv[i].(string)]); got != fmt.Sprint(kv[i+1]) {
			t.Errorf("%v = %s, want %v (%v)", kv[i], got, kv[i+1], res)
		}
	}
}

func TestTemplate(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "a.hl7"), []byte("\x0bMSH|^~\\&|S|F|R|G|2020||ORU^R01|OLD|P|2.3\r\nPID|1||4711\nOBX|1|TX|||caf\xe9\r\n\x1c\r"), 0o600)
	os.WriteFile(filepath.Join(dir, "b.hl7"), []byte("not HL7"), 0o600)
	os.WriteFile(filepath.Join(dir, "c.hl7"), []byte("MSH#^~\\&#S#F#R#G#2020##ORM^O01\nPID#1"), 0o600)
	os.WriteFile(filepath.Join(dir, "d.hl7"), []byte("MSH|^~\\&|||||||A|1|P|2.3\nPV1|1\nMSH|^~\\&|||||||B|2|P|2.3\nPV1|2\n"), 0o600)
	ts, skipped, err := loadCorpus(dir, 0)
	if err != nil || skipped != 1 || len(ts) != 4 {
		t.Fatal(len(ts), skipped, err)
	}
	for i, w := range []string{
		"MSH|^~\\&|S|F|R|G|2020||ORU^R01|ID|P|2.3\rPID|1||4711\rOBX|1|TX|||caf\xe9\r",
		"MSH#^~\\&#S#F#R#G#2020##ORM^O01#ID##\rPID#1\r",
		"MSH|^~\\&|||||||A|ID|P|2.3\rPV1|1\r",
		"MSH|^~\\&|||||||B|ID|P|2.3\rPV1|2\r",
	} {
		if got := string(ts[i].head) + "ID" + string(ts[i].tail); got != w {
			t.Errorf("%d: %q, want %q", i, got, w)
		}
	}
	p, _ := makeTemplate([]byte(builtin), 5000)
	if n := len(p.head) + idLen + len(p.tail); n != 5000 {
		t.Error("padded to", n)
	}
}

func TestAllAcknowledged(t *testing.T) {
	var seen sync.Map
	addr := serve(t, func(_ int64, id string) []byte { seen.Store(id, true); return ack("AA", id) })
	ids := filepath.Join(t.TempDir(), "ids")
	want(t, load(t, config{addr: addr, conns: 4, inflight: 3, count: 1000, idsOut: ids}),
		"sent", 1000, "acked_AA", 1000, "errors", 0, "mismatched", 0, "out_of_order", 0, "unacked", 0)
	b, _ := os.ReadFile(ids)
	lines := strings.Fields(string(b))
	uniq := map[string]bool{}
	for _, l := range lines {
		if _, ok := seen.Load(l); !ok || len(l) != idLen {
			t.Fatal("unknown id", l)
		}
		uniq[l] = true
	}
	if len(lines) != 1000 || len(uniq) != 1000 {
		t.Fatal(len(lines), len(uniq))
	}
}

func TestAnswersAreChecked(t *testing.T) {
	addr := serve(t, func(n int64, id string) []byte {
		switch n % 5 {
		case 0:
			return ack("AE", id)
		case 1:
			return ack("CR", id)
		case 2:
			return ack("AA", "other")
		case 3:
			return []byte("\x0bMSH|^~\\&|no MSA\r\x1c\r")
		}
		return ack("CA", id)
	})
	want(t, load(t, config{addr: addr, count: 100}), "acked_AA", 20, "acked_AE", 20, "acked_AR", 20, "mismatched", 20, "errors", 20)
}

func TestReconnectResends(t *testing.T) {
	var dropped sync.Map
	addr := serve(t, func(n int64, id string) []byte {
		if _, again := dropped.LoadOrStore(id, true); !again && n%10 == 0 {
			return nil
		}
		return ack("AA", id)
	})
	rs := filepath.Join(t.TempDir(), "resent")
	res := load(t, config{addr: addr, conns: 2, inflight: 2, count: 200, reconnect: true, resentOut: rs})
	want(t, res, "acked_AA", 200, "unacked", 0, "mismatched", 0)
	b, _ := os.ReadFile(rs)
	if n := len(strings.Fields(string(b))); res["reconnects"].(int64) == 0 || fmt.Sprint(n) != fmt.Sprint(res["resent"]) {
		t.Fatal(n, res)
	}
	want(t, load(t, config{addr: serve(t, func(int64, string) []byte { return nil }), count: 10}), "conns_lost", 1, "errors", 1, "unacked", 1)
}

// A server that stalls once for 500 ms at 200 msg/s must show in the percentiles, not in one sample.
func TestOpenLoop(t *testing.T) {
	addr := serve(t, func(n int64, id string) []byte {
		if n == 100 {
			time.Sleep(500 * time.Millisecond)
		}
		return ack("AA", id)
	})
	res := load(t, config{addr: addr, rate: 200, duration: 2 * time.Second})
	want(t, res, "acked_AA", 400, "unsent", 0)
	l := res["latency_ms"].(map[string]float64)
	if l["p90"] < 200 || l["p50"] > 100 || l["max"] < 490 {
		t.Error(l)
	}
	// A server that never answers: everything that was due is counted with the time it waited.
	res = load(t, config{addr: serve(t, func(int64, string) []byte { return []byte{} }), rate: 100, duration: time.Second, drain: 10 * time.Millisecond})
	want(t, res, "sent", 1, "unacked", 1)
	if n := res["unsent"].(int64); n < 97 || res["latency_ms"].(map[string]float64)["p50"] < 400 {
		t.Error(res)
	}
}

// What the server makes wait is not the load tool's own lateness.
func TestOwnLag(t *testing.T) {
	addr := serve(t, func(_ int64, id string) []byte { time.Sleep(20 * time.Millisecond); return ack("AA", id) })
	res := load(t, config{addr: addr, rate: 100, duration: time.Second})
	send, own := res["send_lag_ms"].(map[string]float64), res["own_lag_ms"].(map[string]float64)
	if send["p90"] < 200 || own["p90"] > 50 {
		t.Error(send, own)
	}
}

// One connection out of four is answered slowly: its own figure says so.
func TestConnectionsP99(t *testing.T) {
	slow := ""
	var mu sync.Mutex
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				br := bufio.NewReader(c)
				me := c.RemoteAddr().String()
				mu.Lock()
				if slow == "" {
					slow = me
				}
				mine := slow == me
				mu.Unlock()
				for {
					b, _, err := readFrame(br)
					if err != nil {
						return
					}
					if mine {
						time.Sleep(100 * time.Millisecond)
					}
					c.Write(ack("AA", string(bytes.Split(b, []byte("|"))[9])))
				}
			}()
		}
	}()
	res := load(t, config{addr: l.Addr().String(), conns: 4, duration: time.Second})
	p := res["connections_p99_ms"].([]float64)
	if len(p) != 4 || !sort.Float64sAreSorted(p) || p[3] < 99 || p[2] > 50 {
		t.Error(p)
	}
}

func TestTimeoutAndRemote(t *testing.T) {
	res := load(t, config{addr: serve(t, func(int64, string) []byte { return []byte{} }), count: 1, timeout: 50 * time.Millisecond})
	want(t, res, "errors", 1, "unacked", 1, "conns_lost", 1)
	if _, err := newRun(config{addr: "192.0.2.1:2575", conns: 1, inflight: 1}); err == nil {
		t.Error("a remote address was taken")
	}
}

func TestHistogram(t *testing.T) {
	var h hist
	for i := 1; i <= 100000; i++ {
		h.add(time.Duration(i) * time.Microsecond)
	}
	for q, w := range map[float64]float64{.5: 50, .99: 99, .999: 99.9} {
		if g := h.ms(q); g < w*.995 || g > w*1.005 {
			t.Errorf("%v: %v, want %v", q, g, w)
		}
	}
}
