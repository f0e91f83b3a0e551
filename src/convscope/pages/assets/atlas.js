"use strict";
// One layer of an atlas: the grid of its channels, and one channel at a time.
// The layer's own script calls convscopeLayer(data) with what is shown.
function convscopeLayer(data) {
  const ACROSS = 4, CELLS = 32, TILES_ACROSS = 3, TILE = data.side + 1, MOSAIC = TILES_ACROSS * TILE - 1;
  const $ = (id) => document.getElementById(id);
  const grid = $("grid"), unitView = $("unit-view"), gridView = $("grid-view");
  const channels = data.channels.map((values, channel) => ({ dead: values.entries.length === 0, ...values, channel, empty: values.entries.length === 0 }));
  const place = new Map(data.chain.map((channel, index) => [channel, index]));
  grid.style.setProperty("--mosaic", `${MOSAIC}px`);
  let shown = channels;
  let last = 0;

  // Elements are built, never written as HTML: file names may hold anything.
  function make(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name === "style") Object.assign(element.style, value);
      else if (name in element) element[name] = value;
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  function svg(tag, attributes, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  const number = (value) => value === null ? "–" : value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6)
    ? value.toExponential(2) : String(Number(value.toPrecision(3)));
  const counted = (images) => `${images.toLocaleString("en")} image${images === 1 ? "" : "s"}`;
  // A share that is not all or nothing must not be rounded to it.
  const percent = (share) => share === null ? "–"
    : share > 0 && share < 0.001 ? "under 0.1%" : share < 1 && share > 0.999 ? "over 99.9%"
    : `${(100 * share).toFixed(share === 0 || share === 1 || (share > 0.1 && share < 0.99) ? 0 : 1)}%`;

  const KEYS = {
    channel: (c) => c.channel,
    peak: (c) => -(c.peak ?? 0),
    selectivity: (c) => -(c.selectivity ?? -1),
    sparsity: (c) => c.empty ? 2 : c.images,
    similarity: (c) => place.get(c.channel),
  };
  const BELOW = {
    channel: (c) => c.class || `peak ${number(c.peak)}`,
    peak: (c) => `peak ${number(c.peak)}`,
    selectivity: (c) => `${number(c.selectivity)} ${c.class}`,
    sparsity: (c) => `in ${percent(c.images)}`,
    similarity: (c) => c.class || `peak ${number(c.peak)}`,
  };

  // A sheet is fetched when one of its cells comes near the window.
  const near = new IntersectionObserver((seen) => {
    for (const { isIntersecting, target } of seen) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      target.style.backgroundImage = `url("${target.dataset.sheet}")`;
    }
  }, { rootMargin: "600px" });

  function sprite(c, show) {
    if (c.empty) return make("span", { className: "sprite", role: "img", ariaLabel: "never active" }, "dead");
    if (show === "both") return make("span", { className: "pair" }, sprite(c, "patches"), sprite(c, "projections"));
    const cell = c.channel % CELLS;
    const left = (cell % ACROSS) * 2 * MOSAIC + (show === "projections" ? MOSAIC : 0);
    const element = make("span", { className: "sprite", role: "img" });
    element.setAttribute("aria-label", `the strongest ${show} of channel ${c.channel}`);
    element.style.backgroundPosition = `-${left}px -${Math.floor(cell / ACROSS) * MOSAIC}px`;
    element.dataset.sheet = `${data.slug}/${data.sheets[Math.floor(c.channel / CELLS)]}`;
    const count = Math.min(c.entries.length, TILES_ACROSS ** 2), rows = Math.ceil(count / TILES_ACROSS);
    element.style.width = `${Math.min(count, TILES_ACROSS) * TILE - 1}px`;
    element.style.height = `${rows * TILE - 1}px`;
    for (let rank = count; rows > 1 && rank < rows * TILES_ACROSS; rank++) {
      element.append(make("i", { className: "empty", style: {
        left: `${(rank % TILES_ACROSS) * TILE}px`, top: `${(rows - 1) * TILE}px`, width: `${TILE}px`, height: `${TILE}px` } }));
    }
    near.observe(element);
    return element;
  }

  function card(c, show, below) {
    const link = make("a", { className: c.empty ? "channel is-dead" : "channel", href: `#${c.channel}` },
      sprite(c, show), make("b", {}, String(c.channel)),
      make("span", { className: "quiet", title: below }, c.empty ? "never active" : below));
    link.dataset.channel = c.channel;
    return make("div", { role: "listitem" }, link);
  }

  function matches(c, wanted) {
    if (!wanted) return true;
    if (/^\d+$/.test(wanted)) return String(c.channel) === wanted;
    return (c.class || "").toLowerCase().includes(wanted)
      || c.entries.some((entry) => data.titles[entry[0]].toLowerCase().includes(wanted));
  }

  function drawGrid() {
    const sort = $("sort").value, show = $("show").value, wanted = $("find").value.trim().toLowerCase();
    shown = channels.filter((c) => !($("dead").checked && c.dead) && matches(c, wanted));
    shown.sort((one, other) => KEYS[sort](one) - KEYS[sort](other) || one.channel - other.channel);
    grid.className = `grid ${show}`;
    near.disconnect();
    grid.replaceChildren(...shown.map((c) => card(c, show, BELOW[sort](c))));
    $("count").textContent = `${shown.length} of ${channels.length}`;
  }

  function tile(c, rank, row, label) {
    const [width, height] = data.tile;
    const count = data.top;
    const element = make("div", { className: data.suffix === ".png" ? "tile sharp" : "tile", role: "img" });
    element.setAttribute("aria-label", label);
    Object.assign(element.style, {
      aspectRatio: `${width} / ${height}`,
      backgroundImage: `url("${data.slug}/unit-${c.channel}${data.suffix}")`,
      backgroundSize: `${count * 100}% 200%`,
      backgroundPosition: `${count > 1 ? (100 * rank) / (count - 1) : 0}% ${row * 100}%`,
    });
    return element;
  }

  function entry(c, rank) {
    const [image, peak, row, column, top, left, bottom, right, limit, clipped] = c.entries[rank];
    const title = data.titles[image], [width, height] = data.size;
    const frame = make("i", { style: {
      left: `${(100 * left) / width}%`, top: `${(100 * top) / height}%`,
      width: `${(100 * (right - left)) / width}%`, height: `${(100 * (bottom - top)) / height}%`,
    } });
    const file = `../images/${String(image).padStart(8, "0")}${data.imageSuffix}`;
    const picture = make("img", { src: file, loading: "lazy", alt: `${title}, with a frame around what the unit reads`,
      className: width <= 64 ? "sharp" : "" });
    const whole = make("div", { className: "whole", style: { aspectRatio: `${width} / ${height}` } }, picture, frame);
    const scale = limit > 0 ? `shown on ±${number(limit)}${clipped > 0 ? `, ${percent(clipped)} clipped` : ""}`
      : "nothing arrives: all zero";
    return make("li", {}, make("figure", { className: "entry" },
      make("div", { className: "pictures" }, whole,
        tile(c, rank, 0, `the patch that the unit reads in ${title}`),
        tile(c, rank, 1, `what in ${title} drives the unit, given the switches`)),
      make("figcaption", {}, `${rank + 1}. ${title}: peak ${number(peak)} at row ${row}, column ${column}; ${scale}`)));
  }

  function histogram(c) {
    const width = 360, head = 16, height = 120 + head, foot = 18;
    const bins = c.bins.filter(([low, high]) => !(low < 0 && high > 0) && low !== null && high !== null);
    const rest = c.bins.filter((bin) => !bins.includes(bin)).reduce((sum, bin) => sum + bin[2], 0);
    const all = c.bins.reduce((sum, bin) => sum + bin[2], 0);
    const note = make("p", { className: "quiet" }, rest
      ? `${percent(rest / all)} of the images are not shown: their peak is zero or off the scale. ` : "",
      "Images by peak, on a logarithmic scale.");
    const sides = bins.map(([low]) => low < 0);
    if (!bins.length || sides.some((side) => side !== sides[0])) return [table(c.bins, all), note];
    const edge = ([low, high], which) => Math.log2(Math.abs(which ? high : low));
    const first = Math.min(...bins.map((bin) => Math.min(edge(bin, 0), edge(bin, 1))));
    const end = Math.max(...bins.map((bin) => Math.max(edge(bin, 0), edge(bin, 1))));
    const most = Math.max(...bins.map((bin) => bin[2]));
    const x = (exponent) => (sides[0] ? end - exponent : exponent - first) / (end - first) * width;
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height + foot}`, role: "img",
      "aria-label": `Histogram of the peak over ${counted(all)}` });
    for (const bin of bins) {
      const [one, other] = [x(edge(bin, 0)), x(edge(bin, 1))];
      const high = Math.max(1, (height - head) * bin[2] / most);
      picture.append(svg("rect", { x: Math.min(one, other) + 0.5, y: height - high,
        width: Math.max(1, Math.abs(other - one) - 1), height: high },
        svg("title", {}, `${number(bin[0])} to ${number(bin[1])}: ${counted(bin[2])}`)));
    }
    picture.append(svg("line", { x1: 0, x2: width, y1: height, y2: height }),
      svg("line", { x1: 0, x2: width, y1: head, y2: head }), svg("text", { x: 0, y: head - 4 }, counted(most)),
      svg("text", { x: 0, y: height + 14 }, number((sides[0] ? -1 : 1) * 2 ** (sides[0] ? end : first))),
      svg("text", { x: width, y: height + 14, "text-anchor": "end" }, number((sides[0] ? -1 : 1) * 2 ** (sides[0] ? first : end))));
    return [picture, note];
  }

  // Peaks of both signs have no logarithmic axis in common.
  function table(bins, all) {
    return make("div", { className: "scroll" }, make("table", {}, ...bins.map(([low, high, count]) => make("tr", {},
      make("td", {}, `${low === null ? "below" : number(low) + " to"} ${number(high)}`), make("td", {}, percent(count / all))))));
  }

  function stats(c) {
    const rows = [
      ["Strongest peak", number(c.peak)], ["Mean peak of an image", number(c.peakMean)],
      ["Mean activation", number(c.mean)], ["Standard deviation", number(c.std)],
      ["Active in images", percent(c.images)], ["Active at positions", percent(c.positions)],
    ];
    if (c.selectivity !== null) rows.push(["Class selectivity", number(c.selectivity)]);
    return make("table", { className: "stats" }, make("tbody", {}, ...rows.map(([name, value]) =>
      make("tr", {}, make("td", {}, name), make("td", {}, value)))));
  }

  function classBars(c) {
    const most = Math.max(...c.classes.map(([, mean]) => mean ?? 0), 1e-30);
    return make("dl", { className: "bars" }, ...c.classes.flatMap(([name, mean]) => [
      make("dt", {}, name), make("dd", {}, make("i", { style: { width: `${(100 * (mean ?? 0)) / most}%` } })),
      make("span", {}, number(mean))]));
  }

  function alike(pairs, word, chance = null) { // which layers drawn by an older version lack
    const cards = pairs.map(([other, value]) => {
      const own = card(channels[other], "patches", `${word} ${value.toFixed(2)}`);
      own.classList.toggle("by-chance", chance !== null && value <= chance);
      return own;
    });
    const told = chance === null ? [] : [make("p", { className: "quiet" }, `By chance up to ${chance.toFixed(2)}: `
      + `of ${channels.length - 1} independent channels, the most alike stays below it in 19 of 20 cases. Grey: not above it.`)];
    return [make("div", { className: "grid patches", role: "list" }, ...cards), ...told];
  }

  function command(text) {
    const button = make("button", { type: "button", className: "copy" }, "Copy");
    button.addEventListener("click", async () => {
      try { await navigator.clipboard.writeText(text); button.textContent = "Copied"; }
      catch { button.textContent = "Select and copy it"; }
    });
    return make("pre", { className: "command" }, make("code", {}, text), button);
  }

  const panel = (title, ...children) => make("div", {}, make("h3", {}, title), ...children);

  function drawUnit(c) {
    const index = shown.indexOf(c);
    const step = (offset, text) => {
      const other = index < 0 ? undefined : shown[index + offset];
      return other ? make("a", { href: `#${other.channel}`, rel: offset < 0 ? "prev" : "next" }, text) : "";
    };
    const heading = make("h2", { tabIndex: -1 }, `Channel ${c.channel}`);
    const parts = [make("div", { className: "unit-head" }, heading, make("a", { href: "#" }, "All channels"),
      make("span", { className: "spread" }), step(-1, "← previous"), step(1, "next →"))];
    if (c.empty) parts.push(make("p", { className: "warning" }, "This channel was active in none of the images."));
    // Without a rectifier a channel that stays below zero still tells one image from another.
    else if (c.images === 0) parts.push(make("p", { className: "quiet" }, "This channel was above zero in none of the images: these are the ones where it came nearest."));
    if (!c.empty) parts.push(
      make("p", { className: "quiet" }, "Left to right: the whole image with the part that the unit reads in a frame; that part; what in it drives the unit, given the switches."),
      make("ol", { className: "entries" }, ...c.entries.map((_, rank) => entry(c, rank))));
    const panels = make("div", { className: "panels" }, panel("Statistics", stats(c)), panel("Peaks", ...histogram(c)));
    if (c.classes.length) panels.append(panel("Classes that drive it most, by mean peak", classBars(c)));
    const [ofWeights, ofPeaks] = data.chance ?? [];
    const others = make("div", { className: "panels" },
      panel("Most alike by weights", ...alike(c.byWeight, "cosine", ofWeights)),
      panel("Most alike by activation", ...alike(c.byActivation, "correlation", ofPeaks)));
    parts.push(panels, others, panel("Make this picture again", ...c.again.map(command)));
    unitView.replaceChildren(...parts);
    heading.focus({ preventScroll: true });
  }

  function route() {
    const leaves = !unitView.hidden;
    const chosen = /^#\d+$/.test(location.hash) ? channels[Number(location.hash.slice(1))] : undefined;
    gridView.hidden = Boolean(chosen);
    unitView.hidden = !chosen;
    if (chosen) {
      last = chosen.channel;
      drawUnit(chosen);
      scrollTo(0, 0);
    } else {
      unitView.replaceChildren();
      const back = grid.querySelector(`[data-channel="${last}"]`);
      if (back && leaves) back.focus();
    }
  }

  function move(event) {
    const links = [...grid.querySelectorAll("a")], at = links.indexOf(document.activeElement);
    if (at < 0) return false;
    const across = links.filter((link) => link.offsetTop === links[0].offsetTop).length;
    const offset = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across }[event.key];
    const target = offset && links[at + offset];
    if (target) target.focus();
    return Boolean(target);
  }

  addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
    let done = false;
    if (event.key === "Escape" && !unitView.hidden) { location.hash = ""; done = true; }
    else if (event.key === "/" && !typing && !gridView.hidden) { $("find").focus(); done = true; }
    else if (!typing && !unitView.hidden && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
      const link = unitView.querySelector(event.key === "ArrowLeft" ? "[rel=prev]" : "[rel=next]");
      if (link) { location.hash = link.hash; done = true; }
    } else if (!typing && !gridView.hidden) done = move(event);
    if (done) event.preventDefault();
  });
  for (const id of ["sort", "show", "dead", "find"]) $(id).addEventListener("input", drawGrid);
  addEventListener("hashchange", route);
  drawGrid();
  route();
}
