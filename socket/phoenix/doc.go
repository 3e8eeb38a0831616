// Package phoenix is the wire of Phoenix Channels: what clients of either version
// of the protocol send, and what they are sent, as bytes. It knows no connection and
// no channel.
//
// Package socket decodes what comes in: [DecodeText] and [DecodeBinary] make a
// [ClientMessage] of it. What goes out is encoded by an [Encoder], which the front
// door hands to all that send: the stages of the log, and the channels. What it
// appends is ready to be written as it stands, a WebSocket frame or an element of a
// long-poll's answer, so that a thousand connections share it; which it is, and in
// which version, is what the bits of a format say.
//
// # Guarantees
//
// Input: decoding accepts any bytes. What cannot be read is an error that wraps
// [ErrMalformed], or an [*AnswerableError].
//
// Output: a frame is whole, and valid UTF-8 if it is text; what has no form on the
// wire is an error, and then nothing has been appended.
//
// Bounds: a ref and the fields of a binary frame have maxFieldBytes at most. Sizes
// of messages are bounded by those who bring and take them.
//
// # Shutdown
//
// Nothing runs here: all are functions of what they are given, for any number of
// goroutines at a time.
package phoenix
