// What the colours of a prediction mean.

import { ballUrl } from "./api.js";
import { make, percent, swatch } from "./dom.js";

const MOST = 16; // classes that are named

function classes(legend, present) {
  const items = present.slice(0, MOST).map(([k, share]) =>
    make("li", {}, swatch(legend.colours[k]), legend.names[k], make("small", {}, percent(share))),
  );
  if (present.length > MOST) items.push(make("li", {}, `and ${present.length - MOST} smaller`));
  return make("ul", { className: "classes" }, ...items);
}

function bar(legend) {
  const ramp = make("div", { className: "ramp" });
  ramp.style.background = `linear-gradient(to right, ${legend.colours.join(", ")})`;
  const ticks = legend.ticks.map(([at, text], i) => {
    const last = i === legend.ticks.length - 1;
    const tick = make("span", { className: "tick" }, last ? `${text} ${legend.unit}` : text);
    tick.style.insetInlineStart = `${100 * at}%`;
    return tick;
  });
  return make("div", { className: "scale" }, ramp, ...ticks);
}

export function drawLegend(model, task, present) {
  const legend = task.legend;
  if (legend.kind === "classes") return classes(legend, present);
  if (legend.kind === "bar") return bar(legend);
  if (legend.kind !== "ball") return make("div");
  const picture = make("img", { src: ballUrl(model, task.name), alt: "", width: 72, height: 72 });
  return make("div", { className: "ball" }, picture, make("p", {}, "a ball in the same colours: its left side faces left"));
}
