// The page of a service: a form for each endpoint, made from its description; nothing is fetched from elsewhere.

const description = JSON.parse(document.getElementById("description").textContent);
// Behind a gateway the page has a prefix, and may be asked for without the slash at the end.
const base = new URL(location.pathname.replace(/\/?$/, "/"), location.origin);
const url = (route) => new URL(route.replace(/^\//, ""), base).href;

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

class Wrong extends Error {}
