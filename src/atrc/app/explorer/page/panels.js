// What the pixel attends to in one source: a map over its image, and the label regions.

import { make, percent, swatch } from "./dom.js";
import { chip } from "./genotype.js";
import { Surface } from "./surface.js";

const FAINTEST = 130; // opacity of what gets least, of 255
const SHORT = 3; // label regions that a small panel names

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

export const readHeat = (text) => bytes(text);

// Over an image, hot colours; over a prediction, whose colours count, a veil over what is not attended to.
function paint(canvas, found, grid, heat, over) {
  const levels = bytes(found.levels);
  const [height, width] = grid;
  const pixels = new ImageData(width, height);
  for (let i = 0; i < levels.length; i++) {
    const level = levels[i];
    for (let k = 0; k < 3; k++) pixels.data[4 * i + k] = over === "photo" ? heat[3 * level + k] : 12;
    pixels.data[4 * i + 3] = over === "photo" ? FAINTEST + (1 - FAINTEST / 255) * level : 255 - level;
  }
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

export class Panel {
  // choose(row, column) is told a pixel, select() that this source is wanted; locate(task, region) finds a region
  constructor(source, contexts, { choose, select, locate }) {
    Object.assign(this, { source, contexts, locate });
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

  show(found, { grid, heat, over, backdrop, row, column, small }) {
    const context = this.contexts[found.context];
    this.title.replaceChildren(chip(context), make("b", {}, this.source), ` ${context.name}`);
    this.element.dataset.over = over;
    this.element.classList.toggle("idle", found.context === "none");
    if (this.backdrop.getAttribute("src") !== backdrop) this.backdrop.src = backdrop;
    this.surface.mark(row, column);
    this.canvas.hidden = found.context === "none";
    this.repaint = (map) => paint(this.canvas, map, grid, heat, over);
    if (found.levels) this.repaint(found);
    this.caption.replaceChildren(...this.#say(found, small));
  }

  #say(found, small) {
    if (found.context === "none") return ["not attended to"];
    const range = make("p", { className: "range", title: "an even share: what each pixel would get if all got the same" });
    range.append(`each pixel gets ${found.range}`);
    if (!found.regions) return [range];
    const most = Math.max(...found.regions.map((region) => region.share));
    const named = found.regions.slice(0, small ? SHORT : undefined);
    const items = named.map((region) => make("li", {}, this.#region(region, region.share / most, found)));
    const left = found.regions.slice(named.length);
    const count = found.others.count + left.length;
    const share = left.reduce((sum, region) => sum + region.share, found.others.share);
    if (count) items.push(make("li", { className: "rest" }, `${count} more`, make("span", {}, percent(share))));
    const heading = `label regions of ${found.regions_of}${small ? "" : "; point to see where"}`;
    return [make("p", {}, heading), make("ol", { className: "regions" }, ...items)];
  }

  // A region's name and share; while it is pointed at or focused, its own map is shown.
  #region(region, length, found) {
    const bar = make("span", { className: "bar" });
    bar.style.setProperty("--share", length);
    bar.style.setProperty("--colour", region.colour);
    const name = make("span", { className: "region" }, region.name);
    const item = make("button", { type: "button", title: `where ${region.name} is` });
    item.append(swatch(region.colour), name, make("span", {}, percent(region.share)), bar);
    let wanted = false;
    const show = async (is) => {
      wanted = is;
      const map = is ? await this.locate(found.regions_of, region.number) : found;
      if (map && wanted === is && item.isConnected) this.repaint(map);
    };
    for (const event of ["pointerenter", "focus"]) item.addEventListener(event, () => show(true));
    for (const event of ["pointerleave", "blur"]) item.addEventListener(event, () => show(false));
    return item;
  }
}
