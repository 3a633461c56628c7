// Making elements: text goes in as text, never as markup, for names come from files.

export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export const find = (selector, within = document) => within.querySelector(selector);

export function swatch(colour) {
  const element = make("span", { className: "swatch" });
  element.style.background = colour;
  return element;
}

export function percent(share) {
  if (share > 0 && share < 0.0005) return "< 0.1 %";
  return `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
}
