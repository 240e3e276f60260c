// Answers as they come: values, media, streams, tasks.

function asTable(value) {
  if (!Array.isArray(value) || !value.length || value.length > 1000) return null;
  const simple = (found) => found === null || typeof found !== "object";
  let head = null;
  let rows = null;
  if (value.every((row) => Array.isArray(row) && row.length <= 200 && row.every(simple))) rows = value;
  else if (value.every((row) => row && !Array.isArray(row) && typeof row === "object" && Object.values(row).every(simple))) {
    head = [...new Set(value.flatMap((row) => Object.keys(row)))];
    rows = value.map((row) => head.map((name) => row[name]));
  } else return null;
  const line = (row) => make("tr", {}, ...row.map((found) => make("td", {}, found === null || found === undefined ? "" : String(found))));
  return make("div", { className: "scroll", tabIndex: 0 }, make("table", {},
    head ? make("thead", {}, make("tr", {}, ...head.map((name) => make("th", { scope: "col" }, name)))) : null,
    make("tbody", {}, ...rows.map(line))));
}

function shownJson(text, ok) {
  let value;
  try { value = JSON.parse(text); } catch { return [make("pre", { tabIndex: 0 }, text)]; }
  const pretty = make("pre", { tabIndex: 0 }, JSON.stringify(value, null, 1));
  // An error is read, not tabulated.
  const table = ok ? asTable(value) : null;
  return table ? [table, make("details", { className: "raw" }, make("summary", {}, "JSON"), pretty)] : [pretty];
}

async function shown(response) {
  const type = (response.headers.get("content-type") ?? "").split(";")[0];
  if (type === "application/json" || type.endsWith("+json")) return shownJson(await response.text(), response.ok);
  const media = { image: "img", audio: "audio", video: "video" }[type.split("/")[0]];
  if (media) {
    const source = URL.createObjectURL(await response.blob());
    return [make(media, media === "img" ? { src: source, alt: "the answer" } : { src: source, controls: true })];
  }
  if (type.startsWith("text/")) return [make("pre", { tabIndex: 0 }, await response.text())];
  const blob = await response.blob();
  const name = /filename="?([^";]+)/.exec(response.headers.get("content-disposition") ?? "")?.[1] ?? "answer";
  return [make("a", { href: URL.createObjectURL(blob), download: name }, `Save ${name} (${blob.size} bytes, ${type || "no type"})`)];
}

function facts(response, first, total) {
  const word = response.ok ? "good" : "bad";
  const time = (ms) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  const text = total === undefined ? ` · first byte after ${time(first)}` : ` · ${time(total)}`;
  return make("p", { className: "facts" }, make("span", { className: word }, `${response.status} ${response.statusText}`), text);
}

// What the server says is wrong stands at its field.
function markFields(fields, text) {
  let found;
  try { found = JSON.parse(text); } catch { return; }
  for (const item of found?.detail ?? []) {
    const name = String(item.loc?.[0] ?? "");
    fields.find((f) => f.spec.name === name)?.mark([item.loc.slice(1).join("."), item.msg].filter(Boolean).join(": "));
  }
}

async function ask(endpoint, fields, values, answer) {
  const began = performance.now();
  const response = await fetch(url(endpoint.route), request(endpoint, values));
  const first = performance.now() - began;
  if (endpoint.stream && response.ok) {
    const text = make("pre", { tabIndex: 0 });
    answer.replaceChildren(facts(response, first), text);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      text.append(value);
    }
    answer.firstChild.replaceWith(facts(response, first, performance.now() - began));
    return;
  }
  const copy = response.clone();
  const parts = await shown(response);
  answer.replaceChildren(facts(response, first, performance.now() - began), ...parts);
  if (!response.ok) markFields(fields, await copy.text());
}

// --- tasks: submitted, watched, fetched

const finished = ["completed", "success", "failed", "failure", "canceled", "cancelled"];

async function askTask(endpoint, fields, values, answer) {
  const began = performance.now();
  const submitted = await fetch(url(`${endpoint.route}/submit`), request(endpoint, values));
  if (!submitted.ok) {
    const copy = submitted.clone();
    answer.replaceChildren(facts(submitted, 0, performance.now() - began), ...(await shown(submitted)));
    markFields(fields, await copy.text());
    return;
  }
  const { task_id: id } = await submitted.json();
  const at = (verb) => `${url(`${endpoint.route}/${verb}`)}?task_id=${encodeURIComponent(id)}`;
  const line = make("p", { className: "facts" });
  const bar = make("progress", { max: 1, ariaLabel: "progress of the task" });
  const cancel = make("button", { type: "button", className: "small", onclick: () => fetch(at("cancel"), { method: "PUT" }) }, "Cancel task");
  answer.replaceChildren(line, bar, cancel);
  for (let pause = 100; ; pause = Math.min(2000, pause * 1.5)) {
    const status = await (await fetch(at("status"))).json();
    const asked = status.cancel_requested && !finished.includes(status.status) ? "asked to stop" : "";
    line.textContent = [`task ${id}`, status.state ?? status.status, status.message, asked].filter(Boolean).join(" · ");
    if (typeof status.progress === "number") bar.value = status.progress;
    if (finished.includes(status.status)) {
      bar.remove();
      cancel.remove();
      if (status.status.startsWith("cancel")) return;
      break;
    }
    await new Promise((resolve) => { setTimeout(resolve, pause); });
  }
  const response = await fetch(at("get"));
  answer.append(facts(response, 0, performance.now() - began), ...(await shown(response)));
}
