// The page: a card for each endpoint.

function endpointCard(endpoint, isOpen) {
  const answer = make("div", { className: "answer", role: "status", ariaLive: "polite" });
  const send = make("button", { type: "submit", className: "send" }, endpoint.task ? "Submit task" : "Send");
  let snippet = null;
  const fields = endpoint.fields.map((spec) => field(spec, () => snippet?.update()));
  // For the snippets: what is filled in so far, with a stand-in for a file not chosen yet.
  function draft() {
    const values = {};
    for (const { spec, value } of fields) {
      let found;
      try { found = value(); } catch { found = spec.kind === "file" ? new File([], "FILE") : undefined; }
      if (found !== undefined) values[spec.name] = found;
    }
    return values;
  }
  snippet = snippetPanel(endpoint, draft);
  async function submit(event) {
    event.preventDefault();
    const values = {};
    let wrong = false;
    for (const found of fields) {
      found.mark("");
      try {
        const value = found.value();
        if (value !== undefined) values[found.spec.name] = value;
      } catch (error) {
        if (!(error instanceof Wrong)) throw error;
        found.mark(error.message);
        wrong = true;
      }
    }
    if (wrong) return;
    send.disabled = true;
    answer.replaceChildren(make("p", { className: "facts" }, "waiting for the answer"));
    try {
      await (endpoint.task ? askTask : ask)(endpoint, fields, values, answer);
    } catch (error) {
      answer.replaceChildren(make("p", { className: "problem" }, `No answer: ${error.message}. Is the service still running?`));
    } finally {
      send.disabled = false;
    }
  }
  const form = make("form", { onsubmit: submit, noValidate: true }, ...fields.map((found) => found.element),
    fields.length ? null : make("p", { className: "hint" }, "takes nothing"), send, answer);
  const rest = endpoint.about.split("\n").slice(1).join("\n").trim();
  const marks = [endpoint.task && "task", endpoint.stream && "stream", endpoint.batchable && "batchable"].filter(Boolean);
  const card = make("details", { className: "endpoint", open: isOpen, id: endpoint.name },
    make("summary", {}, make("h2", {}, `POST ${endpoint.route}`), ...marks.map((mark) => make("span", { className: "mark" }, mark)),
      make("span", { className: "brief" }, endpoint.about.split("\n")[0])),
    make("div", { className: "inside" },
      make("div", {}, rest ? make("p", { className: "about" }, rest) : null, form),
      make("div", {}, snippet.element)));
  snippet.update();
  return card;
}

async function showState() {
  const state = document.getElementById("state");
  try {
    const response = await fetch(url(description.ready));
    state.textContent = response.ok ? `${description.kind} · ready` : `${description.kind} · not ready (${response.status})`;
  } catch {
    state.textContent = `${description.kind} · not reachable`;
  }
}

document.getElementById("name").textContent = description.name;
document.getElementById("about").textContent = description.about;
document.getElementById("links").append(...description.links.map((link) => make("a", { href: url(link) }, link)));
document.getElementById("endpoints").append(...description.endpoints.map((endpoint, i) => endpointCard(endpoint, i === 0 || description.endpoints.length < 4)));
showState();
