"use strict";

// ---- Phoenix Channels, version 2, over one WebSocket ----------------------

const heartbeatEvery = 30_000;
const joinTimeout = 10_000;
const retryPauses = [200, 500, 1_000, 2_000, 5_000]; // then the last one again

// A Channel is joined for as long as it is wanted, across connections: it
// resumes after the last offset that it has seen.
class Channel {
  constructor(socket, topic) {
    Object.assign(this, { socket, topic, state: "joining", note: "", joinRef: null, after: null, epoch: undefined });
    this.replies = new Map(); // of pushes: ref → what takes the answer
  }

  join() {
    clearTimeout(this.timer);
    if (!this.socket.open) return this.become("joining", "waiting for the connection");
    this.become("joining");
    this.joinRef = this.socket.push(this.topic, "phx_join", { after: this.fresh ? null : this.after, epoch: this.epoch });
    this.timer = setTimeout(() => this.join(), joinTimeout);
  }

  leave() {
    clearTimeout(this.timer);
    if (this.socket.open) this.socket.push(this.topic, "phx_leave", {}, this.joinRef);
  }

  // push sends an event, and resolves with {status, response} once it is answered.
  push(event, payload) {
    if (this.state !== "joined" || !this.socket.open) return Promise.reject(new Error(`Join ${this.topic} first.`));
    const ref = this.socket.push(this.topic, event, payload, this.joinRef);
    return new Promise((answered, failed) => this.replies.set(ref, { answered, failed }));
  }

  // forget ends the wait for answers that will not come any more.
  forget() {
    for (const { failed } of this.replies.values()) failed(new Error("The connection was lost before an answer came."));
    this.replies.clear();
  }

  receive(event, payload, ref, joinRef) {
    if (joinRef !== null && joinRef !== this.joinRef) return; // of a join that is over
    switch (event) {
      case "phx_reply":
        if (ref === this.joinRef) this.answered(payload);
        else this.replies.get(ref)?.answered(payload);
        this.replies.delete(ref);
        return;
      case "phx_error":
        this.become("joining", "the channel crashed; joining again");
        this.retry();
        return;
      case "phx_close":
        this.become("closed", "closed by the server");
        return;
    }
    // All comes in an envelope, and with an offset what comes from the log. The
    // protocol's own messages do not.
    const own = event === "presence_state" || event === "presence_diff";
    const { offset, data } = own ? { data: payload } : payload;
    if (offset !== undefined) this.after = offset;
    this.socket.onEvent({ topic: this.topic, event, offset: offset ?? null, payload: data });
  }

  answered({ status, response }) {
    clearTimeout(this.timer);
    if (status !== "ok") {
      this.become("refused", response.reason ?? "refused");
      return;
    }
    const lost = this.after !== null && !response.resumed;
    if (this.after === null || lost) this.after = response.offset;
    this.epoch = response.epoch;
    this.onJoined?.(response);
    this.become("joined", lost ? `could not resume: on from ${response.offset}` : `from offset ${this.after}`);
  }

  retry() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.join(), 1_000);
  }

  become(state, note = "") {
    Object.assign(this, { state, note });
    this.socket.onChannel(this);
  }
}

// A Socket connects, and connects again until told otherwise.
class Socket {
  constructor({ url, protocols, mayRetry, onState, onEvent, onChannel }) {
    Object.assign(this, { url, protocols, mayRetry, onState, onEvent, onChannel });
    this.ended = false; // for good
    this.channels = new Map();
    this.refs = 0;
    this.failures = 0;
    this.stopped = false;
  }

  get open() { return this.ws?.readyState === WebSocket.OPEN; }

  connect() {
    if (this.ended) return;
    this.stopped = false;
    this.onState("connecting");
    const ws = this.ws = new WebSocket(this.url, this.protocols());
    let opened = false;
    ws.onopen = () => {
      opened = true;
      this.failures = 0;
      this.pendingBeat = null;
      this.beat = setInterval(() => this.heartbeat(), heartbeatEvery);
      this.onState("connected");
      for (const channel of this.channels.values()) channel.join();
    };
    ws.onmessage = ({ data }) => {
      if (typeof data !== "string") return;
      const [joinRef, ref, topic, event, payload] = JSON.parse(data);
      if (topic === "phoenix") this.pendingBeat = null;
      else this.channels.get(topic)?.receive(event, payload, ref, joinRef);
    };
    ws.onclose = async ({ code, reason }) => {
      clearInterval(this.beat);
      for (const channel of this.channels.values()) {
        clearTimeout(channel.timer);
        channel.forget();
        if (channel.state !== "refused" && channel.state !== "closed") channel.become("joining", "waiting for the connection");
      }
      if (this.ended) return;
      const pause = retryPauses[Math.min(this.failures++, retryPauses.length - 1)];
      this.onState("reconnecting", code === 1006 ? "" : reason || `code ${code}`);
      // A refused handshake looks like any other failure: only the API tells.
      this.stopped = !opened && !await this.mayRetry();
      if (this.stopped) return;
      setTimeout(() => this.connect(), pause * (0.75 + Math.random() / 2));
    };
  }

  heartbeat() {
    if (this.pendingBeat) return this.ws.close(4000, "no answer to a heartbeat");
    this.pendingBeat = this.push("phoenix", "heartbeat", {}, null);
  }

  push(topic, event, payload, joinRef) {
    const ref = String(++this.refs);
    this.ws.send(JSON.stringify([joinRef === undefined ? ref : joinRef, ref, topic, event, payload]));
    return ref;
  }

  // join joins a topic, after an offset, or from now on where that is null.
  join(topic, after = null) {
    this.channels.get(topic)?.leave(); // a new join is a new channel
    const channel = new Channel(this, topic);
    channel.after = after;
    this.channels.set(topic, channel);
    channel.join();
    if (this.stopped) this.connect();
    return channel;
  }

  leave(topic) {
    this.channels.get(topic)?.leave();
    this.channels.delete(topic);
  }

  end() {
    this.ended = true;
    for (const channel of this.channels.values()) clearTimeout(channel.timer);
    this.channels.clear();
    this.ws?.close();
  }
}
