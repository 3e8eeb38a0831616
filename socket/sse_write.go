package socket

import (
	"bytes"
	"strconv"
	"time"

	"github.com/sluicehq/sluice/socket/phoenix"
)

// sseWriter writes a stream's events. Its methods are the handler's.
type sseWriter struct {
	stream *sseStream
	buffer []byte
	bytes  int       // written since taken
	since  time.Time // when what is being written began to be
}

const (
	sseBuffer = 16 << 10 // written at a time, events of more than that by themselves
	ssePiece  = 64 << 10 // of a larger event; each has its time (see httpserver.Deadlines)
)

// opening begins the stream: for each topic, where it begins and whether that is where the
// client was.
func (w *sseWriter) opening(topics []streamTopic) error {
	w.buffer = append(w.buffer, "retry: "...)
	w.buffer = append(strconv.AppendInt(w.buffer, sseRetry.Milliseconds(), 10), '\n')
	for i := range topics {
		t := &topics[i]
		w.buffer = append(w.buffer, "event: "+controlEvent+"\n"...)
		w.id()
		w.buffer = phoenix.AppendQuoted(append(w.buffer, `data: {"topic":`...), t.name)
		w.buffer = phoenix.AppendQuoted(append(w.buffer, `,"epoch":`...), t.epoch)
		w.buffer = strconv.AppendInt(append(w.buffer, `,"offset":`...), t.offset, 10)
		w.buffer = strconv.AppendBool(append(w.buffer, `,"resumed":`...), t.resumed)
		w.buffer = append(w.buffer, "}\n\n"...)
	}
	return w.flush()
}

// controlEvent is the name of events of the stream itself.
const controlEvent = "sluice"

// frames writes what has been taken from what is outbound. The error is errChannelEnded
// if one of the topics has ended with it.
func (w *sseWriter) frames(frames [][]byte) error {
	ended := false
	for _, frame := range frames {
		for len(frame) > 0 {
			record, rest, err := phoenix.NextRecord(frame)
			if err != nil {
				return err
			}
			frame = rest
			if record.Kind == phoenix.ControlRecord {
				ended = true
			} else if err := w.record(&record); err != nil {
				return err
			}
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	if ended {
		return errChannelEnded
	}
	return nil
}

// record writes an event, with its id if it moves its topic's position.
func (w *sseWriter) record(r *phoenix.Record) error {
	switch r.Kind {
	case phoenix.CommentRecord:
		w.buffer = append(append(append(w.buffer, ": "...), r.Data...), "\n\n"...)
		return nil
	case phoenix.ReplyRecord: // nobody has asked for anything
		return nil
	}
	t := w.stream.topic(r.Topic)
	if t != nil && r.Offset > 0 {
		t.offset = max(t.offset, r.Offset)
		w.id()
	}
	if r.Kind == phoenix.PositionRecord {
		w.buffer = append(w.buffer, '\n')
		return nil
	}
	if w.stream.named && nameable(r.Event) {
		w.buffer = append(append(append(w.buffer, "event: "...), r.Event...), '\n')
	}
	w.buffer = append(w.buffer, "data: "...)
	if err := w.data(r.Data); err != nil {
		return err
	}
	w.buffer = append(w.buffer, "\n\n"...)
	if len(w.buffer) < sseBuffer {
		return nil
	}
	return w.write()
}

// data writes what may be large.
func (w *sseWriter) data(data []byte) error {
	if len(data) < sseBuffer {
		w.buffer = append(w.buffer, data...)
		return nil
	}
	if err := w.write(); err != nil {
		return err
	}
	for len(data) > 0 {
		piece := data[:min(len(data), ssePiece)]
		if err := w.send(piece); err != nil {
			return err
		}
		data = data[len(piece):]
	}
	return nil
}

// nameable tells whether an event may come under its name. Under those that a browser has
// for the stream itself, and under ours, a page would take it for something else; a line end,
// which old logs may have in a name, would end the line.
func nameable(event []byte) bool {
	switch string(event) {
	case "open", "error", controlEvent:
		return false
	}
	return !bytes.ContainsAny(event, "\r\n\x00")
}

// id writes the line that says where the stream is.
func (w *sseWriter) id() {
	w.buffer = append(appendStreamID(append(w.buffer, "id: "...), w.stream.topics), '\n')
}

// silence writes something that is no event: a comment, or where the stream has got to.
func (w *sseWriter) silence(moved bool) error {
	if moved {
		w.id()
		w.buffer = append(w.buffer, '\n')
	} else {
		w.buffer = append(w.buffer, ":\n\n"...)
	}
	return w.flush()
}

// flush has all that is buffered go to the client.
func (w *sseWriter) flush() error {
	if err := w.write(); err != nil {
		return err
	}
	return w.stream.control.Flush()
}

func (w *sseWriter) write() error {
	err := w.send(w.buffer)
	w.buffer = w.buffer[:0]
	return err
}

// send has the server write. What stands around the endpoint gives each piece its time.
func (w *sseWriter) send(p []byte) error {
	w.since = time.Now()
	w.bytes += len(p)
	_, err := w.stream.writer.Write(p)
	return err
}

// taken is how many bytes have been written since it was asked last.
func (w *sseWriter) taken() int {
	n := w.bytes
	w.bytes = 0
	return n
}
