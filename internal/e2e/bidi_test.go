package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// A bidi is a session of WebDriver BiDi (https://w3c.github.io/webdriver-bidi), which browsers speak over a WebSocket.
type bidi struct {
	conn *websocket.Conn

	mu       sync.Mutex
	last     int
	waiting  map[int]chan<- bidiMessage
	contexts map[string]*tab // who hears of the log entries of a browsing context
	gone     error           // why the session is over
}

type bidiMessage struct {
	Type           string // "success", "error" or "event"
	ID             int
	Result         json.RawMessage
	Error, Message string
	Method         string
	Params         json.RawMessage
}

// dialBiDi begins a session at the address that the browser printed. The client reaches it.
func dialBiDi(ctx context.Context, client *http.Client, url string) (*bidi, error) {
	conn, _, err := websocket.Dial(ctx, url+"/session", &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(-1)
	b := &bidi{conn: conn, waiting: map[int]chan<- bidiMessage{}, contexts: map[string]*tab{}}
	go b.read()
	if err := b.call(ctx, "session.new", map[string]any{"capabilities": struct{}{}}, nil); err != nil {
		return nil, err
	}
	return b, b.call(ctx, "session.subscribe", map[string]any{"events": []string{"log.entryAdded"}}, nil)
}

func (b *bidi) read() {
	for {
		var m bidiMessage
		err := wsjson.Read(context.Background(), b.conn, &m)
		b.mu.Lock()
		if err != nil {
			b.gone = fmt.Errorf("the browser's session is over: %w", err)
			for _, reply := range b.waiting {
				close(reply)
			}
			clear(b.waiting)
			b.mu.Unlock()
			return
		}
		if m.Type == "event" {
			b.log(m.Params)
		} else if reply := b.waiting[m.ID]; reply != nil {
			delete(b.waiting, m.ID)
			reply <- m
		}
		b.mu.Unlock()
	}
}

// log takes a log.entryAdded.
func (b *bidi) log(params json.RawMessage) {
	var entry struct {
		Level, Text string
		Source      struct{ Context string }
	}
	if json.Unmarshal(params, &entry) == nil {
		if p := b.contexts[entry.Source.Context]; p != nil {
			p.prints(entry.Level + ": " + entry.Text)
		}
	}
}

// call runs a command. Its result is decoded unless that is nil.
func (b *bidi) call(ctx context.Context, method string, params, result any) error {
	reply := make(chan bidiMessage, 1)
	b.mu.Lock()
	if b.gone != nil {
		b.mu.Unlock()
		return b.gone
	}
	b.last++
	id := b.last
	b.waiting[id] = reply
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.waiting, id)
		b.mu.Unlock()
	}()
	// A context that ends while something is written would end the session, too.
	if err := wsjson.Write(context.Background(), b.conn, map[string]any{"id": id, "method": method, "params": params}); err != nil {
		return err
	}
	select {
	case m, ok := <-reply:
		switch {
		case !ok:
			return io.ErrUnexpectedEOF
		case m.Type == "error":
			return fmt.Errorf("%s: %s: %s", method, m.Error, m.Message)
		case result == nil:
			return nil
		}
		return json.Unmarshal(m.Result, result)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// bidiPage is a page of a browser that speaks BiDi.
type bidiPage struct {
	*bidi
	context string
}

// open opens an empty page whose storage and permissions are its own, with a script that runs before those of each page. Close
// ends it.
func (b *bidi) open(ctx context.Context, before string) (page *bidiPage, close func(context.Context), err error) {
	var user struct{ UserContext string }
	if err := b.call(ctx, "browser.createUserContext", struct{}{}, &user); err != nil {
		return nil, nil, err
	}
	close = func(ctx context.Context) { b.call(ctx, "browser.removeUserContext", user, nil) } // closes its pages
	if err := b.call(ctx, "script.addPreloadScript", map[string]any{
		"functionDeclaration": "() => {" + before + "}", "userContexts": []string{user.UserContext},
	}, nil); err != nil {
		close(ctx)
		return nil, nil, err
	}
	page = &bidiPage{bidi: b}
	var made struct{ Context string }
	// A window, as a tab that is not in front is slowed down.
	if err := b.call(ctx, "browsingContext.create", map[string]any{"type": "window", "userContext": user.UserContext}, &made); err != nil {
		close(ctx)
		return nil, nil, err
	}
	page.context = made.Context
	return page, close, nil
}

// heard says who hears of the page's log.
func (g *bidiPage) heard(by *tab) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.contexts[g.context] = by
}

func (g *bidiPage) navigate(ctx context.Context, url string) error {
	return g.call(ctx, "browsingContext.navigate", map[string]any{"context": g.context, "url": url, "wait": "complete"}, nil)
}

func (g *bidiPage) reload(ctx context.Context) error {
	return g.call(ctx, "browsingContext.reload", map[string]any{"context": g.context, "wait": "complete"}, nil)
}

// evaluate lets the page make the JSON. As with a person, it may play sound then.
func (g *bidiPage) evaluate(ctx context.Context, js string) ([]byte, error) {
	var got struct {
		Result           struct{ Type, Value string }
		ExceptionDetails struct{ Text string }
		Type             string
	}
	err := g.call(ctx, "script.evaluate", map[string]any{
		"expression": "(async () => JSON.stringify(await (" + js + "\n)))()", "target": map[string]any{"context": g.context},
		"awaitPromise": true, "userActivation": true,
	}, &got)
	if err != nil {
		return nil, err
	}
	if got.Type != "success" {
		return nil, errors.New(got.ExceptionDetails.Text)
	}
	return []byte(got.Result.Value), nil
}

func (g *bidiPage) click(ctx context.Context, selector string) error {
	quoted, err := json.Marshal(selector)
	if err != nil {
		return err
	}
	_, err = g.evaluate(ctx, `(async () => {
		for (;;) {
			const element = document.querySelector(`+string(quoted)+`);
			if (element?.checkVisibility() && !element.disabled) return element.click();
			await new Promise((resolve) => requestAnimationFrame(resolve));
		}
	})()`)
	return err
}

func (g *bidiPage) insert(ctx context.Context, text string) error { return g.press(ctx, text) }

func (g *bidiPage) press(ctx context.Context, keys string) error {
	var actions []map[string]string
	for _, key := range keys {
		actions = append(actions, map[string]string{"type": "keyDown", "value": string(key)}, map[string]string{"type": "keyUp", "value": string(key)})
	}
	return g.call(ctx, "input.performActions", map[string]any{
		"context": g.context, "actions": []any{map[string]any{"type": "key", "id": "keyboard", "actions": actions}},
	}, nil)
}

func (g *bidiPage) screenshot(ctx context.Context) ([]byte, error) {
	var got struct{ Data string }
	if err := g.call(ctx, "browsingContext.captureScreenshot", map[string]any{"context": g.context}, &got); err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(got.Data)
}
