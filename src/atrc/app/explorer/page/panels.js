// What the pixel attends to in one source: a map over its picture, and the label regions.

import { make, percent, swatch } from "./dom.js";
import { chip } from "./genotype.js";
import { Surface } from "./surface.js";

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

export const readHeat = (text) => bytes(text);

// Over a photograph, hot colours; over a prediction, whose colours count, a veil over what is not attended to.
function paint(canvas, found, grid, heat, over) {
  const levels = bytes(found.levels);
  const [height, width] = grid;
  const pixels = new ImageData(width, height);
  levels.forEach((level, i) => {
    const colour = over === "photo" ? [...heat.subarray(3 * level, 3 * level + 3), 255] : [12, 12, 16, 255 - level];
    pixels.data.set(colour, 4 * i);
  });
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

export class Panel {
  // choose(row, column) is told a pixel, select() that this source is wanted
  constructor(source, contexts, choose, select) {
    this.contexts = contexts;
    this.source = source;
    this.title = make("button", { type: "button", className: "title" });
    this.title.addEventListener("click", select);
    this.backdrop = make("img", { alt: "", draggable: false });
    this.canvas = make("canvas", { "aria-hidden": "true" });
    const cross = make("span", { className: "cross" });
    this.picture = make("div", { className: "map" }, this.backdrop, this.canvas, cross);
    this.surface = new Surface(this.picture, cross, choose);
    this.caption = make("figcaption");
    this.element = make("figure", { className: "panel" }, this.title, this.picture, this.caption);
  }

  resize(size) {
    this.surface.resize(size);
  }

  show(found, { grid, heat, over, backdrop, row, column }) {
    const context = this.contexts[found.context];
    this.title.replaceChildren(chip(context), make("b", {}, this.source), ` ${context.name}`);
    this.element.dataset.over = over;
    this.element.classList.toggle("idle", found.context === "none");
    if (this.backdrop.getAttribute("src") !== backdrop) this.backdrop.src = backdrop;
    this.surface.mark(row, column);
    this.canvas.hidden = found.context === "none";
    if (found.levels) paint(this.canvas, found, grid, heat, over);
    this.caption.replaceChildren(...this.#say(found));
  }

  #say(found) {
    if (found.context === "none") return ["not attended to"];
    const even = found.context === "local" ? "even, in the window" : "even";
    const range = make("p", { className: "range", title: "1 × even: what each pixel would get if all got the same" });
    range.append(`a pixel gets ${found.range.replace("even", even)}`);
    if (!found.regions) return [range];
    const most = Math.max(...found.regions.map((region) => region.share));
    const items = found.regions.map((region) => {
      const bar = make("span", { className: "bar" });
      bar.style.setProperty("--share", region.share / most);
      bar.style.setProperty("--colour", region.colour);
      return make("li", {}, swatch(region.colour), make("span", { className: "region" }, region.name), make("span", {}, percent(region.share)), bar);
    });
    const { count, share } = found.others;
    if (count) items.push(make("li", { className: "rest" }, make("span"), make("span", {}, `${count} others`), make("span", {}, percent(share))));
    return [make("p", {}, `label regions of ${found.regions_of}`), make("ol", { className: "regions" }, ...items)];
  }
}
