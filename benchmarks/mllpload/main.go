// mllpload loads an HL7 v2 MLLP server and checks every answer.
//
// Open loop (-rate R): message i is due at start + i/R whether or not the server keeps up, and its
// latency runs from that instant (no coordinated omission). Messages that were due but never sent, or
// sent and never answered, enter the latency figures with the time they had waited when the run ended.
// Closed loop (-rate 0): each of conns x inflight slots sends its next message when one is answered;
// latency runs from the send.
//
// send_lag_ms is how late messages were sent, whoever is to blame; own_lag_ms only counts from when the message was due and its
// slot was free: the load tool's own lateness. connections_p99_ms has one figure a connection, in ascending order.
//
// Linux only (the pacer uses nanosleep: Go's own timers can be 1 ms late). One JSON object on stdout.
package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base32"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	vt, fsep, cr = 0x0B, 0x1C, 0x0D
	maxAck       = 1 << 20
	builtin      = "MSH|^~\\&|LOAD|LOAD|ENGINE|ENGINE|20260101120000||ORM^O01|1|P|2.3\r" +
		"PID|1||4711^^^LOAD^MR||LOAD^TEST||19700101|F\rORC|NW|1|1||SC\rOBR|1|1|1|36643-5^XR Chest 2 Views^LN|||20260101120000\r"
)

type config struct {
	addr, corpus, prefix, idsOut, resentOut, ca, cert, key, serverName string
	conns, inflight, size                                              int
	rate                                                               float64
	count                                                              int64
	duration, drain, timeout                                           time.Duration
	tls, insecure, reconnect, allowRemote                              bool
}

// Go has these from 1.21 on; Debian 12 has 1.19.
type ordered interface{ ~int | ~int64 | ~float64 }

func max[T ordered](a, b T) T {
	if a > b {
		return a
	}
	return b
}

func min[T ordered](a, b T) T {
	if a < b {
		return a
	}
	return b
}

// ---- corpus ----

type template struct{ head, tail []byte } // the message without its MSH-10, cut in two there

func normalise(b []byte) []byte {
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	b = bytes.Trim(b, "\x0b\x1c\r\n")
	b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\r"))
	b = bytes.ReplaceAll(b, []byte("\n"), []byte("\r"))
	return append(b, cr)
}

// splitMessages cuts a file at every segment that starts with MSH and a separator.
func splitMessages(b []byte) [][]byte {
	var out [][]byte
	for {
		i := bytes.Index(b[1:], []byte("\rMSH|"))
		if i < 0 {
			return append(out, b)
		}
		out, b = append(out, b[:i+2]), b[i+2:]
	}
}

func makeTemplate(m []byte, size int) (template, error) {
	if len(m) < 9 || string(m[:3]) != "MSH" {
		return template{}, errors.New("does not start with MSH")
	}
	if bytes.IndexByte(m, vt) >= 0 || bytes.IndexByte(m, fsep) >= 0 {
		return template{}, errors.New("contains an MLLP framing byte")
	}
	end := bytes.IndexByte(m, cr)
	f := bytes.Split(m[:end], m[3:4]) // f[0]=MSH, f[1]=MSH-2, ... f[9]=MSH-10
	for len(f) < 12 {
		f = append(f, nil)
	}
	sep := m[3:4]
	head := append(bytes.Join(f[:9], sep), sep...)
	tail := append(append(append([]byte{}, sep...), bytes.Join(f[10:], sep)...), m[end:]...)
	if tail[len(tail)-1] != cr {
		tail = append(tail, cr)
	}
	if n := size - len(head) - len(tail) - idLen; n > 0 {
		z := append([]byte("ZPD"), sep...)
		z = append(z, bytes.Repeat([]byte("x"), max(1, n-len(z)-1))...)
		tail = append(append(tail, z...), cr)
	}
	return template{head, tail}, nil
}

func loadCorpus(spec string, size int) (ts []template, skipped int, err error) {
	if spec == "" {
		t, err := makeTemplate([]byte(builtin), size)
		return []template{t}, 0, err
	}
	var files []string
	for _, p := range strings.Split(spec, ",") {
		if st, e := os.Stat(p); e == nil && st.IsDir() {
			filepath.WalkDir(p, func(path string, d fs.DirEntry, e error) error {
				if e == nil && d.Type().IsRegular() && !strings.HasPrefix(d.Name(), ".") {
					files = append(files, path)
				}
				return nil
			})
			continue
		}
		g, e := filepath.Glob(p)
		if e != nil {
			return nil, 0, e
		}
		files = append(files, g...)
	}
	sort.Strings(files)
	for _, f := range files {
		b, e := os.ReadFile(f)
		if e != nil {
			return nil, skipped, e
		}
		for _, m := range splitMessages(normalise(b)) {
			t, e := makeTemplate(m, size)
			if e != nil {
				skipped++
				fmt.Fprintf(os.Stderr, "skipped %s: %v\n", f, e)
				continue
			}
			ts = append(ts, t)
		}
	}
	if len(ts) == 0 {
		return nil, skipped, fmt.Errorf("no HL7 message in %q", spec)
	}
	return ts, skipped, nil
}

// ---- latency histogram: log-linear, 256 steps per octave (error under 0.4 %), safe for concurrent use ----

type hist struct {
	b   [40 * 256]atomic.Int64
	max atomic.Int64
}

func (h *hist) add(d time.Duration) {
	v := max(int64(d), 0)
	for m := h.max.Load(); v > m && !h.max.CompareAndSwap(m, v); m = h.max.Load() {
	}
	u := uint64(v) / 256 // 256 ns resolution at the bottom
	i := int(u)
	if e := bits.Len64(u) - 9; e >= 0 {
		i = (e+1)*256 + int(u>>e) - 256
	}
	h.b[min(i, len(h.b)-1)].Add(1)
}

func (h *hist) ms(q float64) float64 {
	var n, c int64
	for i := range h.b {
		n += h.b[i].Load()
	}
	if n == 0 {
		return 0
	}
	want := int64(q*float64(n) + 0.9999999)
	for i := range h.b {
		if c += h.b[i].Load(); c >= want {
			e, m := i/256-1, uint64(i%256)
			u := m
			if e >= 0 {
				u = (m + 256) << e
				u += 1 << e >> 1 // middle of the bucket
			}
			return min(round3(float64(u*256)/1e6), round3(float64(h.max.Load())/1e6))
		}
	}
	return round3(float64(h.max.Load()) / 1e6)
}

func round3(f float64) float64 { return float64(int64(f*1000+0.5)) / 1000 }

func (h *hist) json() map[string]float64 {
	return map[string]float64{"p50": h.ms(.5), "p90": h.ms(.9), "p99": h.ms(.99), "p99.9": h.ms(.999),
		"max": round3(float64(h.max.Load()) / 1e6)}
}

// ---- run ----

const idLen = 16 // 7 of prefix + 9 digits: MSH-10 is at most 20 characters in HL7 2.3

type msg struct {
	seq      int64
	id       string
	due      time.Time // latency runs from here
	deadline time.Time // the ACK must have come by then
}

type run struct {
	cfg   config
	tlsC  *tls.Config
	tmpl  []template
	start time.Time
	due   chan int64    // sequence numbers that may be sent now
	stop  chan struct{} // no new messages
	hard  chan struct{} // give up

	sent, aa, ae, ar, mismatched, outOfOrder, errs, dialFail, reconnects, resent, unacked atomic.Int64
	lat, sendLag, ownLag                                                                  hist

	mu        sync.Mutex
	ids, rs   *os.File
	samples   map[string]int
	lastAck   time.Time
	longest   time.Duration
	lostConns int
}

func (r *run) fail(format string, a ...any) {
	r.errs.Add(1)
	r.note(fmt.Sprintf(format, a...))
}

func (r *run) note(s string) {
	r.mu.Lock()
	if _, ok := r.samples[s]; ok || len(r.samples) < 10 {
		r.samples[s]++
	}
	r.mu.Unlock()
}

func (r *run) writeID(f *os.File, id string) {
	if f != nil { // one write(2) a line: nothing is left in a buffer
		r.mu.Lock()
		f.WriteString(id + "\n")
		r.mu.Unlock()
	}
}

// pace hands out sequence numbers when they are due; with rate 0 as fast as they are taken.
func (r *run) pace() {
	defer close(r.due)
	runtime.LockOSThread()
	for i := int64(0); r.cfg.count <= 0 || i < r.cfg.count; i++ {
		if r.cfg.rate > 0 {
			at := r.dueAt(i)
			if at.Sub(r.start) >= r.cfg.duration {
				return
			}
			for d := time.Until(at); d > 0; d = time.Until(at) {
				ts := syscall.NsecToTimespec(int64(min(d, 50*time.Millisecond)))
				syscall.Nanosleep(&ts, nil)
				select {
				case <-r.stop:
					return
				default:
				}
			}
		}
		select {
		case r.due <- i:
		case <-r.stop:
			return
		}
	}
}

func (r *run) dueAt(i int64) time.Time {
	return r.start.Add(time.Duration(float64(i) / r.cfg.rate * 1e9))
}

func (r *run) dial() (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).Dial("tcp", r.cfg.addr)
	if err != nil || r.tlsC == nil {
		return c, err
	}
	t := tls.Client(c, r.tlsC)
	t.SetDeadline(time.Now().Add(10 * time.Second))
	if err := t.Handshake(); err != nil {
		c.Close()
		return nil, err
	}
	t.SetDeadline(time.Time{})
	return t, nil
}

type conn struct {
	r     *run
	slots chan struct{}
	buf   []byte
	lat   hist

	mu  sync.Mutex
	nc  net.Conn
	out []*msg // sent and not answered, oldest first; survives a reconnect
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (c *conn) write(m *msg) error {
	t := c.r.tmpl[m.seq%int64(len(c.r.tmpl))]
	b := append(c.buf[:0], vt)
	b = append(append(append(b, t.head...), m.id...), t.tail...)
	b = append(b, fsep, cr)
	c.buf = b
	c.nc.SetWriteDeadline(m.deadline)
	_, err := c.nc.Write(b)
	return err
}

// loop keeps one connection busy until there is nothing more to send and nothing left to be answered.
func (c *conn) loop() {
	r := c.r
	backoff := 20 * time.Millisecond
	for connected := c.nc != nil; ; connected = false {
		if !connected {
			if !r.cfg.reconnect {
				r.mu.Lock()
				r.lostConns++
				r.mu.Unlock()
				return
			}
			for {
				c.mu.Lock()
				idle := len(c.out) == 0
				c.mu.Unlock()
				if closed(r.hard) || (closed(r.stop) && idle) {
					return
				}
				nc, err := r.dial()
				if err == nil {
					c.mu.Lock()
					c.nc = nc
					c.mu.Unlock()
					break
				}
				r.dialFail.Add(1)
				time.Sleep(backoff)
				backoff = min(2*backoff, 500*time.Millisecond)
			}
			backoff = 20 * time.Millisecond
			r.reconnects.Add(1)
		}
		broken := make(chan struct{})
		c.mu.Lock()
		again := append([]*msg{}, c.out...)
		for _, m := range again {
			m.deadline = time.Now().Add(r.cfg.timeout)
		}
		c.armTimeout()
		c.mu.Unlock()
		go c.read(broken)
		err := error(nil)
		for _, m := range again {
			r.resent.Add(1)
			r.writeID(r.rs, m.id)
			if err = c.write(m); err != nil {
				break
			}
		}
		done := err == nil && c.send(broken)
		c.nc.Close()
		<-broken
		if done {
			return
		}
	}
}

// send issues new messages; true means the work is over, false that the connection broke.
func (c *conn) send(broken chan struct{}) bool {
	r := c.r
	for {
		select {
		case <-c.slots:
		case <-broken:
			return false
		case <-r.stop:
			return c.drain(broken)
		}
		free := time.Now()
		var seq int64
		var ok bool
		select {
		case seq, ok = <-r.due:
		case <-broken:
			c.slots <- struct{}{}
			return false
		case <-r.stop:
		}
		if !ok || closed(r.stop) {
			c.slots <- struct{}{}
			return c.drain(broken)
		}
		now := time.Now()
		m := &msg{seq: seq, id: fmt.Sprintf("%s%09d", r.cfg.prefix, seq), due: now, deadline: now.Add(r.cfg.timeout)}
		if r.cfg.rate > 0 {
			m.due = r.dueAt(seq)
			r.sendLag.add(now.Sub(m.due))
			if m.due.After(free) {
				free = m.due
			}
			r.ownLag.add(now.Sub(free))
		}
		c.mu.Lock()
		c.out = append(c.out, m)
		if len(c.out) == 1 {
			c.armTimeout()
		}
		c.mu.Unlock()
		r.sent.Add(1)
		if err := c.write(m); err != nil {
			return false // the reader sees the broken connection and counts it
		}
	}
}

func (c *conn) drain(broken chan struct{}) bool {
	for {
		c.mu.Lock()
		n := len(c.out)
		c.mu.Unlock()
		if n == 0 || closed(c.r.hard) {
			return true
		}
		select {
		case <-broken:
			return false
		case <-c.r.hard:
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// armTimeout sets the read deadline to that of the oldest message; the caller holds c.mu.
func (c *conn) armTimeout() {
	if len(c.out) == 0 {
		c.nc.SetReadDeadline(time.Time{})
	} else {
		c.nc.SetReadDeadline(c.out[0].deadline)
	}
}

func (c *conn) read(broken chan struct{}) {
	defer close(broken)
	br := bufio.NewReaderSize(c.nc, 8192)
	for {
		b, junk, err := readFrame(br)
		if junk > 0 {
			c.r.fail("bytes outside a frame from the server")
		}
		if err != nil {
			c.mu.Lock()
			n := len(c.out)
			c.mu.Unlock()
			over := closed(c.r.hard) || (n == 0 && errors.Is(err, net.ErrClosed))
			var ne net.Error
			switch {
			case over:
			case errors.As(err, &ne) && ne.Timeout():
				c.r.fail("no ACK within %v", c.r.cfg.timeout)
			case errors.Is(err, io.EOF):
				c.r.fail("closed by the server")
			default:
				var oe *net.OpError
				if errors.As(err, &oe) {
					err = oe.Err
				}
				c.r.fail("%v", err)
			}
			c.nc.Close()
			return
		}
		c.answer(b)
	}
}

// readFrame returns the payload of the next frame and how many bytes lay before its start block.
func readFrame(br *bufio.Reader) (payload []byte, junk int, err error) {
	for {
		b, err := br.ReadByte()
		if err != nil {
			return nil, junk, err
		}
		if b == vt {
			break
		}
		junk++
	}
	for {
		part, err := br.ReadSlice(cr)
		payload = append(payload, part...)
		if err != nil && err != bufio.ErrBufferFull {
			return nil, junk, err
		}
		if n := len(payload); n >= 2 && payload[n-2] == fsep && payload[n-1] == cr {
			return payload[:n-2], junk, nil
		}
		if len(payload) > maxAck {
			return nil, junk, errors.New("ACK too long")
		}
	}
}

// parseAck returns MSA-1 and MSA-2.
func parseAck(b []byte) (code, id string, ok bool) {
	if len(b) < 4 || string(b[:3]) != "MSH" {
		return "", "", false
	}
	for _, s := range bytes.FieldsFunc(b, func(r rune) bool { return r == '\r' || r == '\n' }) {
		if f := bytes.Split(s, b[3:4]); string(f[0]) == "MSA" && len(f) > 1 {
			if len(f) > 2 {
				id = string(f[2])
			}
			return string(f[1]), id, true
		}
	}
	return "", "", false
}

func (c *conn) answer(b []byte) {
	r, now := c.r, time.Now()
	code, id, ok := parseAck(b)
	c.mu.Lock()
	at := -1
	for i, m := range c.out {
		if m.id == id {
			at = i
			break
		}
	}
	matched := at >= 0
	if !matched && len(c.out) > 0 {
		at = 0 // answers come in order: this one stands for the oldest message
	}
	var m *msg
	if at >= 0 {
		m = c.out[at]
		copy(c.out[at:], c.out[at+1:])
		c.out = c.out[:len(c.out)-1]
		c.armTimeout()
	}
	c.mu.Unlock()
	switch {
	case !ok:
		r.fail("answer without MSA")
	case !matched:
		r.mismatched.Add(1)
		r.note(fmt.Sprintf("%s with the wrong MSA-2", code))
	default:
		if at > 0 {
			r.outOfOrder.Add(1)
		}
		switch code {
		case "AA", "CA":
			r.aa.Add(1)
			r.writeID(r.ids, id)
			r.mu.Lock()
			r.longest = max(r.longest, now.Sub(r.lastAck))
			r.lastAck = now
			r.mu.Unlock()
		case "AE", "CE":
			r.ae.Add(1)
		case "AR", "CR":
			r.ar.Add(1)
		default:
			r.fail("unknown MSA-1 %q", code)
		}
	}
	if m != nil {
		r.lat.add(now.Sub(m.due))
		c.lat.add(now.Sub(m.due))
		c.slots <- struct{}{}
	}
}

func newRun(cfg config) (*run, error) {
	r := &run{cfg: cfg, due: make(chan int64), stop: make(chan struct{}), hard: make(chan struct{}), samples: map[string]int{}}
	if r.cfg.rate > 0 { // the queue of overdue messages; when it is full the pacer blocks, and due times stay right
		r.due = make(chan int64, 1<<16)
	}
	if r.cfg.prefix == "" {
		b := make([]byte, 5)
		rand.Read(b)
		r.cfg.prefix = base32.StdEncoding.EncodeToString(b)[:7]
	}
	if cfg.conns < 1 || cfg.inflight < 1 {
		return nil, errors.New("-conns and -inflight must be at least 1")
	}
	host, _, err := net.SplitHostPort(cfg.addr)
	if err != nil {
		return nil, err
	}
	ips, err := net.LookupIP(host)
	if err != nil {
		return nil, err
	}
	for _, ip := range ips {
		if !ip.IsLoopback() && !cfg.allowRemote {
			return nil, fmt.Errorf("%s is not this machine; -allow-remote if it is yours to load", host)
		}
	}
	if cfg.tls {
		r.tlsC = &tls.Config{ServerName: cfg.serverName, InsecureSkipVerify: cfg.insecure}
		if r.tlsC.ServerName == "" {
			r.tlsC.ServerName = host
		}
		if cfg.ca != "" {
			pem, err := os.ReadFile(cfg.ca)
			if err != nil {
				return nil, err
			}
			r.tlsC.RootCAs = x509.NewCertPool()
			if !r.tlsC.RootCAs.AppendCertsFromPEM(pem) {
				return nil, errors.New("no certificate in -ca")
			}
		}
		if cfg.cert != "" {
			kp, err := tls.LoadX509KeyPair(cfg.cert, cfg.key)
			if err != nil {
				return nil, err
			}
			r.tlsC.Certificates = []tls.Certificate{kp}
		}
	}
	return r, nil
}

func (r *run) do(sig <-chan os.Signal) (map[string]any, error) {
	var skipped int
	var err error
	if r.tmpl, skipped, err = loadCorpus(r.cfg.corpus, r.cfg.size); err != nil {
		return nil, err
	}
	for _, o := range []struct {
		name string
		f    **os.File
	}{{r.cfg.idsOut, &r.ids}, {r.cfg.resentOut, &r.rs}} {
		if o.name != "" {
			if *o.f, err = os.Create(o.name); err != nil {
				return nil, err
			}
			defer (*o.f).Close()
		}
	}
	var cs []*conn
	for i := 0; i < r.cfg.conns; i++ {
		nc, err := r.dial()
		if err != nil {
			if !r.cfg.reconnect {
				return nil, fmt.Errorf("connection %d: %w", i+1, err)
			}
			r.dialFail.Add(1)
		}
		c := &conn{r: r, nc: nc, slots: make(chan struct{}, r.cfg.inflight)}
		for j := 0; j < r.cfg.inflight; j++ {
			c.slots <- struct{}{}
		}
		cs = append(cs, c)
	}
	r.start = time.Now()
	r.lastAck = r.start
	go r.pace()
	var wg sync.WaitGroup
	for _, c := range cs {
		wg.Add(1)
		go func(c *conn) { defer wg.Done(); c.loop() }(c)
	}
	all := make(chan struct{})
	go func() { wg.Wait(); close(all) }()
	interrupted := false
	select {
	case <-all: // the count was reached, or every connection was lost
	case <-time.After(time.Until(r.start.Add(r.cfg.duration))):
	case <-sig:
		interrupted = true
	}
	sendEnd := time.Now()
	close(r.stop)
	select {
	case <-all:
	case <-time.After(r.cfg.drain):
	}
	end := time.Now()
	close(r.hard)
	for _, c := range cs {
		c.mu.Lock()
		if c.nc != nil {
			c.nc.Close()
		}
		for _, m := range c.out {
			r.unacked.Add(1)
			r.lat.add(end.Sub(m.due))
			c.lat.add(end.Sub(m.due))
		}
		c.out = nil
		c.mu.Unlock()
	}
	<-all
	unsent := int64(0)
	if r.cfg.rate > 0 { // due before sending ended and never sent
		n := int64(sendEnd.Sub(r.start).Seconds() * r.cfg.rate)
		if r.cfg.count > 0 {
			n = min(n, r.cfg.count)
		}
		for i := r.sent.Load(); i < n; i++ { // sent in order, so these are the last ones
			unsent++
			r.lat.add(sendEnd.Sub(r.dueAt(i)))
		}
	}
	// The span that the rate is taken over: to the last AA, or to the end of sending where that came later.
	r.mu.Lock()
	defer r.mu.Unlock()
	span := sendEnd.Sub(r.start)
	if r.lastAck.After(sendEnd) {
		span = r.lastAck.Sub(r.start)
	} else {
		r.longest = max(r.longest, sendEnd.Sub(r.lastAck))
	}
	secs := span.Seconds()
	p99s := make([]float64, 0, len(cs))
	for _, c := range cs {
		p99s = append(p99s, c.lat.ms(.99))
	}
	sort.Float64s(p99s)
	return map[string]any{
		"sent": r.sent.Load(), "acked_AA": r.aa.Load(), "acked_AE": r.ae.Load(), "acked_AR": r.ar.Load(), // with CA, CE, CR
		"mismatched": r.mismatched.Load(), "out_of_order": r.outOfOrder.Load(), "errors": r.errs.Load(), "dial_failures": r.dialFail.Load(),
		"reconnects": r.reconnects.Load(), "resent": r.resent.Load(), "unacked": r.unacked.Load(), "unsent": unsent,
		"conns": r.cfg.conns, "conns_lost": r.lostConns, "inflight": r.cfg.inflight, "target_rate": r.cfg.rate, "seconds": round3(secs),
		"rate": round3(float64(r.aa.Load()) / secs), "latency_ms": r.lat.json(), "send_lag_ms": r.sendLag.json(),
		"own_lag_ms": r.ownLag.json(), "connections_p99_ms": p99s,
		"longest_gap_ms": round3(float64(r.longest) / 1e6), "messages_in_corpus": len(r.tmpl), "corpus_skipped": skipped,
		"prefix": r.cfg.prefix, "notes": r.samples, "interrupted": interrupted,
	}, nil
}

func main() {
	var c config
	flag.StringVar(&c.addr, "addr", "127.0.0.1:2575", "host:port of the MLLP server")
	flag.IntVar(&c.conns, "conns", 1, "concurrent connections")
	flag.Float64Var(&c.rate, "rate", 0, "messages/s over all connections, open loop; 0: as fast as answers come")
	flag.IntVar(&c.inflight, "inflight", 1, "unanswered messages allowed per connection")
	flag.DurationVar(&c.duration, "duration", 0, "how long to send (default 10s; with -count at most 10m)")
	flag.Int64Var(&c.count, "count", 0, "stop after this many messages")
	flag.DurationVar(&c.drain, "drain", 5*time.Second, "how long to wait for the last answers")
	flag.DurationVar(&c.timeout, "timeout", 30*time.Second, "an ACK that takes longer breaks the connection")
	flag.StringVar(&c.corpus, "corpus", "", "folders or globs of HL7 files, comma-separated (default: one small ORM)")
	flag.IntVar(&c.size, "size", 0, "pad each message to this many bytes with a ZPD segment")
	flag.StringVar(&c.prefix, "prefix", "", "start of every MSH-10 (default: 7 random characters)")
	flag.BoolVar(&c.reconnect, "reconnect", false, "reconnect when a connection breaks and resend what was not answered")
	flag.StringVar(&c.idsOut, "ids-out", "", "file for the MSH-10 of every AA/CA, one a line, written at once")
	flag.StringVar(&c.resentOut, "resent-out", "", "file for the MSH-10 of every resend")
	flag.BoolVar(&c.tls, "tls", false, "use TLS")
	flag.StringVar(&c.ca, "ca", "", "CA certificates (PEM)")
	flag.StringVar(&c.cert, "cert", "", "client certificate (PEM)")
	flag.StringVar(&c.key, "key", "", "client key (PEM)")
	flag.StringVar(&c.serverName, "servername", "", "name to expect in the certificate (default: the host)")
	flag.BoolVar(&c.insecure, "insecure", false, "accept any certificate")
	flag.BoolVar(&c.allowRemote, "allow-remote", false, "allow an address that is not loopback")
	flag.Parse()
	if c.duration <= 0 {
		c.duration = 10 * time.Second
		if c.count > 0 {
			c.duration = 10 * time.Minute
		}
	}
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, os.Interrupt, syscall.SIGTERM)
	r, err := newRun(c)
	var res map[string]any
	if err == nil {
		res, err = r.do(sig)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mllpload:", err)
		os.Exit(1)
	}
	b, _ := json.Marshal(res)
	fmt.Println(string(b))
	if n := r.mismatched.Load() + r.errs.Load() + r.unacked.Load() + r.ae.Load() + r.ar.Load(); n > 0 || res["unsent"].(int64) > 0 {
		os.Exit(2) // something was not answered AA in time; the JSON says what
	}
}
