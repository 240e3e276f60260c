// Fields: each has `element`, `value()` (undefined: left out) and `mark(text)`

let counter = 0;

function field(spec, changed) {
  const id = `field-${++counter}`;
  const kinds = {
    integer: numberInput, number: numberInput, boolean: choiceInput, choice: choiceInput, text: textInput,
    table: tableInput, file: fileInput, json: jsonInput,
  };
  const input = (kinds[spec.kind] ?? jsonInput)(spec, id, changed);
  const problem = make("p", { className: "problem", id: `${id}-problem`, hidden: true });
  const about = [spec.about, spec.hint, spec.required ? "" : "optional"].filter(Boolean).join(" · ");
  const hint = make("span", { className: "hint", id: `${id}-hint` }, about);
  const element = make("div", { className: "field" }, make("label", { htmlFor: id }, spec.name), hint, input.element, problem);
  const control = element.querySelector(`#${id}`);
  control?.setAttribute("aria-describedby", `${hint.id} ${problem.id}`);
  return {
    spec,
    element,
    value: input.value,
    mark(text) {
      problem.textContent = text;
      problem.hidden = !text;
      if (text) control?.setAttribute("aria-invalid", "true");
      else control?.removeAttribute("aria-invalid");
    },
  };
}

function filled(spec) {
  return spec.default !== undefined ? spec.default : spec.sample;
}

function numberInput(spec, id, changed) {
  const step = spec.kind === "integer" ? 1 : "any";
  const start = filled(spec);
  const element = make("input", {
    id, type: "number", step, min: spec.minimum, max: spec.maximum, value: start ?? "", oninput: changed,
  });
  return {
    element,
    value() {
      if (element.value === "" && !element.validity.badInput) {
        if (spec.required) throw new Wrong("expected a number");
        return undefined;
      }
      const number = Number(element.value);
      if (element.validity.badInput || Number.isNaN(number)) throw new Wrong("expected a number");
      return number;
    },
  };
}

function choiceInput(spec, id, changed) {
  const choices = spec.kind === "boolean" ? [true, false] : spec.choices;
  const start = filled(spec);
  const options = choices.map((choice, index) =>
    make("option", { value: String(index), selected: choice === start }, String(choice)));
  if (!spec.required) options.unshift(make("option", { value: "", selected: start === undefined || start === null }, "(not sent)"));
  const element = make("select", { id, onchange: changed }, ...options);
  return { element, value: () => (element.value === "" ? undefined : choices[Number(element.value)]) };
}

function textInput(spec, id, changed) {
  const element = make("textarea", { id, rows: 2, value: filled(spec) ?? "", oninput: changed });
  return { element, value: () => (element.value === "" && !spec.required ? undefined : element.value) };
}

function jsonInput(spec, id, changed) {
  const start = filled(spec);
  const element = make("textarea", {
    id, rows: 5, spellcheck: false, oninput: changed, value: start === undefined ? "" : JSON.stringify(start, null, 1),
  });
  return {
    element,
    value() {
      if (element.value.trim() === "") {
        if (spec.required) throw new Wrong("expected JSON");
        return undefined;
      }
      try {
        return JSON.parse(element.value);
      } catch (error) {
        throw new Wrong(`expected JSON: ${error.message}`);
      }
    },
  };
}

function parsedCell(text, isText) {
  const trimmed = text.trim();
  if (isText) return text;
  if (trimmed === "") return null;
  const number = Number(trimmed);
  if (!Number.isNaN(number)) return number;
  if (trimmed === "true" || trimmed === "false") return trimmed === "true";
  return text;
}

// Arrays and dataframes: cells to type or paste into (from a spreadsheet or CSV), or JSON.
function tableInput(spec, id, changed) {
  const isFrame = spec.form === "records" || spec.form === "columns";
  const start = filled(spec);
  let columns = spec.columns ?? null;
  let rows = [];
  if (spec.form === "columns" && start) {
    columns ??= Object.keys(start);
    const length = Math.max(1, ...columns.map((name) => start[name]?.length ?? 0));
    rows = Array.from({ length }, (_, row) => columns.map((name) => start[name]?.[row] ?? ""));
  } else if (spec.form === "records" && start) {
    columns ??= [...new Set(start.flatMap((row) => Object.keys(row)))];
    rows = start.map((row) => columns.map((name) => row[name] ?? ""));
  } else if (spec.form === "vector") rows = [start ?? [0]];
  else rows = start ?? [[0]];
  if (isFrame && !columns?.length) { columns = ["column"]; rows = [[""]]; }
  rows = rows.map((row) => row.map(String));
  const fixed = Boolean(spec.width) || Boolean(spec.columns?.length);
  const textual = spec.dtype === "text";
  const element = make("div", { id, role: "group" });

  function cell(row, column) {
    return make("td", { className: "cell" }, make("input", {
      type: "text", value: rows[row][column], inputMode: isFrame || textual ? "text" : "decimal",
      ariaLabel: `${spec.name}, row ${row + 1}, column ${columns?.[column] ?? column + 1}`,
      oninput: (event) => { rows[row][column] = event.target.value; changed(); },
      onpaste: (event) => paste(event, row, column),
    }));
  }

  function paste(event, row, column) {
    const text = event.clipboardData.getData("text").replace(/\r?\n$/, "");
    if (!/[\t\n,;]/.test(text)) return;
    event.preventDefault();
    const separator = text.includes("\t") ? /\t/ : /[,;]\s*/;
    text.split(/\r?\n/).forEach((line, down) => {
      rows[row + down] ??= rows[0].map(() => "");
      line.split(separator).forEach((value, right) => {
        if (column + right < rows[0].length || !fixed) rows[row + down][column + right] = value;
      });
    });
    const width = Math.max(...rows.map((found) => found.length));
    rows = rows.map((found) => Array.from({ length: width }, (_, i) => found[i] ?? ""));
    if (isFrame) columns = Array.from({ length: width }, (_, i) => columns[i] ?? `column_${i + 1}`);
    draw();
    changed();
  }

  function heading() {
    return make("tr", {}, ...rows[0].map((_, index) => {
      if (!isFrame) return make("th", { scope: "col" }, columns?.[index] ?? String(index + 1));
      if (fixed) return make("th", { scope: "col" }, columns[index]);
      return make("th", { className: "cell", scope: "col" }, make("input", {
        type: "text", value: columns[index], ariaLabel: `name of column ${index + 1}`,
        oninput: (event) => { columns[index] = event.target.value; changed(); },
      }));
    }));
  }

  function button(text, act, disabled = false) {
    return make("button", { type: "button", className: "small", disabled, onclick: () => { act(); draw(); changed(); } }, text);
  }

  function draw() {
    const body = rows.map((row, r) => make("tr", {}, ...row.map((_, c) => cell(r, c))));
    const grid = make("table", {}, make("thead", {}, heading()), make("tbody", {}, ...body));
    const buttons = [];
    if (spec.form !== "vector") {
      buttons.push(button("Add row", () => rows.push([...rows[rows.length - 1]])));
      buttons.push(button("Remove row", () => rows.pop(), rows.length < 2));
    }
    if (!fixed) {
      buttons.push(button("Add column", () => { rows.forEach((row) => row.push(isFrame ? "" : "0")); if (isFrame) columns.push(`column_${columns.length + 1}`); }));
      buttons.push(button("Remove column", () => { rows.forEach((row) => row.pop()); if (isFrame) columns.pop(); }, rows[0].length < 2));
    }
    element.replaceChildren(make("div", { className: "scroll" }, grid), make("div", { className: "buttons" }, ...buttons));
  }

  draw();
  return {
    element,
    value() {
      const values = rows.map((row) => row.map((text) => parsedCell(text, textual)));
      if (!isFrame && !textual) {
        for (const [r, row] of values.entries()) {
          for (const [c, value] of row.entries()) {
            if (typeof value !== "number" && typeof value !== "boolean") throw new Wrong(`row ${r + 1}, column ${c + 1}: expected a number, found ${JSON.stringify(rows[r][c])}`);
          }
        }
      }
      if (spec.form === "records") return values.map((row) => Object.fromEntries(row.map((value, i) => [columns[i], value])));
      if (spec.form === "columns") return Object.fromEntries(columns.map((name, i) => [name, values.map((row) => row[i])]));
      return spec.form === "vector" ? values[0] : values;
    },
  };
}

function fileInput(spec, id, changed) {
  const shown = make("div");
  const input = make("input", { id, type: "file", accept: spec.accept, multiple: spec.many, onchange: () => { show(); changed(); } });
  function show() {
    shown.replaceChildren(...[...input.files].filter((file) => file.type.startsWith("image/")).map((file) =>
      make("img", { src: URL.createObjectURL(file), alt: `the chosen image ${file.name}` })));
  }
  const element = make("div", {
    className: "drop",
    ondragover: (event) => { event.preventDefault(); element.classList.add("over"); },
    ondragleave: () => element.classList.remove("over"),
    ondrop: (event) => {
      event.preventDefault();
      element.classList.remove("over");
      if (!event.dataTransfer.files.length) return;
      input.files = event.dataTransfer.files;
      show();
      changed();
    },
  }, input, make("div", { className: "hint" }, spec.many ? "or drop files here" : "or drop a file here"), shown);
  return {
    element,
    value() {
      if (!input.files.length) {
        if (spec.required) throw new Wrong("choose a file");
        return undefined;
      }
      return spec.many ? [...input.files] : input.files[0];
    },
  };
}
