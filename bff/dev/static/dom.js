// Elements without markup in strings: whatever a server sent ends up as text, never as HTML.

export const byId = (id) => document.getElementById(id);

/** Tell the person that something went wrong; without a text, that it no longer does. */
export function notify(text = "") {
  byId("notice").textContent = text;
  byId("notice").hidden = !text;
}

/** el("p", {class: "quiet"}, "text", child, ...) */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
