// From the fields to a request, and to lines that make the same request elsewhere.

const isFile = (value) => value instanceof File || (Array.isArray(value) && value[0] instanceof File);

function jsonBody(endpoint, values) {
  if (endpoint.encoding !== "tensors") return endpoint.encoding === "root" ? values[endpoint.fields[0].name] : values;
  const inputs = endpoint.fields.map((spec) => {
    const data = values[spec.name];
    const shape = [];
    for (let inner = data; Array.isArray(inner); inner = inner[0]) shape.push(inner.length);
    return { name: spec.name, shape, datatype: spec.datatype, data };
  });
  return { inputs };
}

function request(endpoint, values) {
  if (endpoint.encoding === "form") {
    const body = new FormData();
    for (const [name, value] of Object.entries(values)) {
      for (const part of isFile(value) ? [value].flat() : [typeof value === "string" ? value : JSON.stringify(value)]) body.append(name, part);
    }
    return { method: "POST", body };
  }
  if (endpoint.encoding === "text") return { method: "POST", body: values[endpoint.fields[0].name] ?? "", headers: { "content-type": "text/plain" } };
  if (endpoint.encoding === "file") {
    const file = values[endpoint.fields[0].name];
    return { method: "POST", body: file, headers: { "content-type": file?.type || "application/octet-stream" } };
  }
  return { method: "POST", body: JSON.stringify(jsonBody(endpoint, values)), headers: { "content-type": "application/json" } };
}

// --- snippets

const shell = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;
const fileName = (value) => (value instanceof File ? value.name : "FILE");

function python(value) {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([k, v]) => `${JSON.stringify(k)}: ${python(v)}`).join(", ")}}`;
  return JSON.stringify(value);
}

function snippets(endpoint, values, route) {
  const to = url(route);
  const parts = Object.entries(values).flatMap(([name, value]) => (isFile(value) ? [value].flat() : [value]).map((part) => [name, part]));
  if (endpoint.encoding === "form") {
    const curl = parts.map(([name, v]) => `-F ${shell(isFile(v) ? `${name}=@${fileName(v)}` : `${name}=${typeof v === "string" ? v : JSON.stringify(v)}`)}`);
    const files = parts.filter(([, v]) => isFile(v)).map(([name, v]) => `(${python(name)}, open(${python(fileName(v))}, "rb"))`);
    const data = parts.filter(([, v]) => !isFile(v)).map(([name, v]) => `${python(name)}: ${python(typeof v === "string" ? v : JSON.stringify(v))}`);
    return {
      curl: `curl ${curl.join(" ")} ${shell(to)}`,
      Python: `import requests\n\nanswer = requests.post(\n    ${python(to)},\n    files=[${files.join(", ")}],\n    data={${data.join(", ")}},\n)\nanswer.raise_for_status()\nprint(answer.text)`,
      JavaScript: `const form = new FormData();\n${parts.map(([name, v]) => `form.append(${JSON.stringify(name)}, ${isFile(v) ? `await openAsBlob(${JSON.stringify(fileName(v))})` : JSON.stringify(typeof v === "string" ? v : JSON.stringify(v))});`).join("\n")}\nconst answer = await fetch(${JSON.stringify(to)}, { method: "POST", body: form });\nconsole.log(answer.status, await answer.text());`,
    };
  }
  if (endpoint.encoding === "file" || endpoint.encoding === "text") {
    const value = values[endpoint.fields[0].name];
    const type = endpoint.encoding === "text" ? "text/plain" : value?.type || endpoint.media_type;
    const isText = endpoint.encoding === "text";
    return {
      curl: `curl -H ${shell(`content-type: ${type}`)} --data-binary ${isText ? shell(value ?? "") : shell(`@${fileName(value)}`)} ${shell(to)}`,
      Python: `import requests\n\nanswer = requests.post(\n    ${python(to)},\n    data=${isText ? `${python(value ?? "")}.encode()` : `open(${python(fileName(value))}, "rb")`},\n    headers={"content-type": ${python(type)}},\n)\nanswer.raise_for_status()\nprint(answer.text)`,
      JavaScript: `const answer = await fetch(${JSON.stringify(to)}, {\n  method: "POST",\n  headers: { "content-type": ${JSON.stringify(type)} },\n  body: ${isText ? JSON.stringify(value ?? "") : `await openAsBlob(${JSON.stringify(fileName(value))})`},\n});\nconsole.log(answer.status, await answer.text());`,
    };
  }
  const body = jsonBody(endpoint, values);
  return {
    curl: `curl -H 'content-type: application/json' -d ${shell(JSON.stringify(body))} ${shell(to)}`,
    Python: `import requests\n\nanswer = requests.post(${python(to)}, json=${python(body)})\nanswer.raise_for_status()\nprint(answer.text)`,
    JavaScript: `const answer = await fetch(${JSON.stringify(to)}, {\n  method: "POST",\n  headers: { "content-type": "application/json" },\n  body: JSON.stringify(${JSON.stringify(body)}),\n});\nconsole.log(answer.status, await answer.text());`,
  };
}

function snippetPanel(endpoint, draft) {
  const code = make("code");
  const names = ["curl", "Python", "JavaScript"];
  let chosen = names[0];
  const tabs = names.map((name) => make("button", {
    type: "button", role: "tab", className: "small", onclick: () => { chosen = name; update(); },
    onkeydown: (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = tabs[(names.indexOf(name) + step + names.length) % names.length];
      next.click();
      next.focus();
    },
  }, name));
  const copy = make("button", {
    type: "button", className: "small copy",
    onclick: async () => { await navigator.clipboard.writeText(code.textContent); copy.textContent = "Copied"; setTimeout(() => { copy.textContent = "Copy"; }, 1500); },
  }, "Copy");
  // Without a secure origin there is no clipboard to write to.
  copy.hidden = !navigator.clipboard;
  function update() {
    tabs.forEach((tab, i) => { tab.ariaSelected = String(names[i] === chosen); tab.tabIndex = names[i] === chosen ? 0 : -1; });
    code.textContent = snippets(endpoint, draft(), endpoint.task ? `${endpoint.route}/submit` : endpoint.route)[chosen];
  }
  const element = make("div", {}, make("div", { className: "tabs", role: "tablist", ariaLabel: "Language" }, ...tabs),
    make("div", { className: "snippet" }, make("pre", { tabIndex: 0 }, code), copy));
  return { element, update };
}
