// The contexts of all pairs as a grid of cells: rows attend, columns are attended to.

import { make } from "./dom.js";

export class Genotype {
  // choose(target, source) is told the pair
  constructor(element, contexts, choose) {
    this.element = element;
    this.contexts = contexts;
    this.choose = choose;
    this.cells = new Map();
    element.addEventListener("keydown", (event) => this.#walk(event));
  }

  show(rows) {
    this.cells.clear();
    this.rows = rows;
    const targets = Object.keys(rows);
    const sources = Object.keys(rows[targets[0]]);
    const head = sources.map((source) => make("th", { scope: "col" }, make("span", {}, source)));
    const body = targets.map((target) => {
      const cells = sources.map((source) => make("td", {}, this.#cell(target, source, rows[target][source])));
      return make("tr", {}, make("th", { scope: "row" }, target), ...cells);
    });
    const caption = make("caption", {}, "Rows attend to columns");
    const corner = make("td", { className: "corner" });
    const table = make("table", {}, caption, make("thead", {}, make("tr", {}, corner, ...head)), make("tbody", {}, ...body));
    this.element.replaceChildren(table, this.#key(rows));
  }

  select(target, source) {
    for (const [key, cell] of this.cells) {
      const [row, column] = JSON.parse(key);
      const chosen = row === target && column === source;
      cell.setAttribute("aria-pressed", String(chosen));
      cell.tabIndex = chosen ? 0 : -1;
      cell.classList.toggle("row", row === target);
    }
    if (![...this.cells.values()].some((cell) => cell.tabIndex === 0)) {
      for (const cell of [...this.cells.values()].slice(0, 1)) cell.tabIndex = 0;
    }
  }

  #cell(target, source, name) {
    const label = `${target} attends to ${source}: ${this.contexts[name].name}`;
    const cell = make("button", { type: "button", className: `cell ${name}`, title: label, "aria-label": label });
    cell.append(this.contexts[name].letter);
    cell.style.setProperty("--colour", this.contexts[name].colour);
    cell.style.setProperty("--on", this.contexts[name].ink);
    cell.addEventListener("click", () => this.choose(target, source));
    this.cells.set(JSON.stringify([target, source]), cell);
    return cell;
  }

  #key(rows) {
    const used = new Set(Object.values(rows).flatMap((row) => Object.values(row)));
    const items = Object.entries(this.contexts).filter(([name]) => used.has(name));
    return make("ul", { className: "contexts" }, ...items.map(([, one]) => make("li", {}, chip(one), make("span", {}, make("b", {}, one.name), ` ${one.meaning}`))));
  }

  #walk(event) {
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (!(event.key in steps) || !event.target.matches(".cell")) return;
    event.preventDefault();
    const cells = [...this.cells.values()];
    const width = Object.keys(Object.values(this.rows)[0]).length;
    const at = cells.indexOf(event.target);
    const [row, column] = [Math.floor(at / width) + steps[event.key][0], (at % width) + steps[event.key][1]];
    if (column >= 0 && column < width) cells[row * width + column]?.focus();
  }
}

export function chip(context) {
  const element = make("span", { className: "chip", "aria-hidden": "true" }, context.letter);
  element.style.setProperty("--colour", context.colour);
  element.style.setProperty("--on", context.ink);
  return element;
}
