// What phoenix 1.7 takes from a browser for long-polling, by way of fetch. The
// order of what it tells is the standard's (https://xhr.spec.whatwg.org): also
// a request that failed or was aborted is done first.

const done = 4

export class XMLHttpRequest {
  readyState = 0
  responseText = ""
  onreadystatechange = () => {}
  onerror = () => {}
  #headers = {}
  #abort = new AbortController()

  open(method, url) {
    Object.assign(this, { method, url, readyState: 1 })
  }

  setRequestHeader(name, value) {
    this.#headers[name] = value
  }

  // Ends with onreadystatechange, and after a failure with onerror. A timeout
  // there is none of: the server's polls end long before the client's patience.
  async send(body) {
    const { method, url } = this
    const signal = this.#abort.signal
    try {
      const response = await fetch(url, { method, headers: this.#headers, body: body ?? undefined, signal })
      this.responseText = await response.text()
    } catch {
      if (signal.aborted) return
      this.#finish()
      this.onerror()
      return
    }
    if (!signal.aborted) this.#finish()
  }

  abort() {
    if (this.readyState === done) return
    this.#abort.abort()
    this.#finish()
  }

  #finish() {
    this.readyState = done
    this.onreadystatechange()
  }
}
