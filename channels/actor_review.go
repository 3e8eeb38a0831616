package channels

// Review has the channel judge its client again, by the socket as it is now. If
// it turns the client down, the channel has ended for the client when Review
// returns: nothing of the topic is queued any more.
func (a *Actor) Review() {
	a.mu.Lock()
	reviewer, _ := a.channel.(Reviewer)
	if !a.settled { // Join may have seen the old socket, and is to be answered first
		a.doubted = true
		reviewer = nil
	}
	a.mu.Unlock()
	if reviewer != nil {
		a.review(reviewer)
	}
}

// settle ends the join. It has the client told who is on the topic, if it is to be, and
// reviews the join if somebody asked meanwhile.
func (a *Actor) settle() {
	a.mu.Lock()
	a.settled = true
	doubted, follows := a.doubted, a.follows
	a.mu.Unlock()
	if follows {
		a.AwaitPresence()
	}
	if doubted {
		a.Review()
	}
}

func (a *Actor) review(reviewer Reviewer) {
	var verdict error
	if crash := a.guard(func() { verdict = reviewer.Review(a.Topic(), a.socket()) }); crash != nil {
		a.log(crash, "review")
		verdict = crash
	}
	if verdict == nil {
		return
	}
	p, _ := payloadOf(Reason("unauthorized"))
	a.end(ErrWithdrawn, a.encodePush(a.joinRef, "phx_error", p))
}
