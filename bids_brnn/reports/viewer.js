// The volume viewer of a page: unpacks the maps that lie in it, colours them, and lets NiiVue turn them.
(() => {
  "use strict";
  const holder = document.getElementById("volumes");
  if (!holder) return;
  const element = (id) => document.getElementById(id);
  const page = JSON.parse(holder.textContent);
  const say = (text) => { element("v-state").textContent = text; };

  const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  async function unpacked(text, format = "deflate") {
    const stream = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream(format));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }
  async function words16(text) { // two planes: high bytes, low bytes
    const raw = await unpacked(text), n = raw.length / 2, found = new Uint16Array(n);
    for (let i = 0; i < n; i++) found[i] = (raw[i] << 8) | raw[n + i];
    return found;
  }
  async function floats(text) { // the three upper bytes of each number, in planes
    const raw = await unpacked(text), n = raw.length / 3, codes = new Uint32Array(n);
    for (let i = 0; i < n; i++) codes[i] = (raw[i] << 24) | (raw[n + i] << 16) | (raw[2 * n + i] << 8);
    return new Float32Array(codes.buffer);
  }
  const valuesOf = (item) => item.opened ||= floats(item.data).then((values) => item.values = values);

  let series = null, viewer = null, layers = [], layer = null, range = [0, 1], at = [0, 0, 0];

  // Mask and regions of a series; place: of each voxel among those of the mask, -1 outside.
  function prepared(one) {
    one.promise ||= (async () => {
      const bits = await unpacked(one.mask), n = one.shape.reduce((a, b) => a * b);
      one.place = new Int32Array(n).fill(-1);
      for (let voxel = 0, next = 0; voxel < n; voxel++)
        if ((bits[voxel >> 3] >> (voxel & 7)) & 1) one.place[voxel] = next++;
      if (one.regions) one.regions.values = await words16(one.regions.data);
      return one;
    })();
    return one.promise;
  }
  window.unpackedValues = floats;
  // Values of two estimates in the voxels of one region, for scatter plots.
  window.regionValues = async (seriesName, name, [first, second], code) => {
    const known = page.series.find((item) => item.name === seriesName);
    if (!known) return []; // there was no room for its maps
    const one = await prepared(known);
    const maps = [first, second].map((of) => one.maps.find((item) => item.name === name && item.of === of && item.kind === "estimate"));
    const [a, b] = await Promise.all(maps.map(valuesOf)), found = [];
    one.regions.values.forEach((region, voxel) => {
      const place = one.place[voxel];
      if (region === code && place >= 0) found.push([a[place], b[place]]);
    });
    return found;
  };

  async function openSeries(index) {
    series = await prepared(page.series[index]);
    await Promise.all(series.maps.map(valuesOf));
    const nz = series.shape[2];
    layers = layersOf(series);
    fill(element("v-map"), layers.map((item, i) => [i, item.title, item.group]));
    const estimators = series.estimators.filter((one) => find("flags", one.key));
    fill(element("v-over"), [["", "none"], ["mask", "mask outline"],
      ...(series.regions ? [["regions", "regions"]] : []),
      ...estimators.map((one) => [`flags ${one.key}`, `flags: ${one.title}`])]);
    ["x", "y", "z"].forEach((axis, i) => { element(`v-${axis}`).max = series.shape[i] - 1; });
    at = middle();
    viewer = viewer || await opened();
    await choose(0, true);
    viewer.setSliceType(nz < 8 ? 0 : 3);
    element("v-turn").setAttribute("aria-pressed", "false");
    const coarse = series.step.some((step) => step > 1)
      ? `This page holds one voxel of ${series.step.join(" x ")} (right x anterior x superior) of the files. ` : "";
    element("v-about").textContent = `${coarse}Values are those of the files, rounded by at most `
      + `${(100 * series.rounding).toPrecision(1)} % (standard deviations and quality ${(100 * series.coarse).toPrecision(1)} %).`;
    moveTo(at);
  }

  const find = (name, of, kind = null) => series.maps.find(
    (item) => item.name === name && item.of === of && (!kind || item.kind === kind));

  // What can be shown: maps, differences of two estimators, images.
  function layersOf(one) {
    const found = [], [first, ...others] = one.estimators;
    const titles = Object.fromEntries(one.estimators.map((item) => [item.key, item.title]));
    for (const kind of ["estimate", "std", "quality", "supplied"])
      for (const item of one.maps.filter((map) => map.kind === kind))
        found.push({ title: `${item.name}${kind === "std" ? ": standard deviation" : ""}`, item, kind,
          group: titles[item.of] || "Supplied maps", range: item.range, unit: item.unit,
          colours: { estimate: "viridis", std: "magma", quality: "cividis", supplied: "RdBu_r" }[kind] });
    for (const other of others)
      for (const item of one.maps.filter((map) => map.of === first.key && map.kind === "estimate"))
        if (find(item.name, other.key, "estimate")) {
          const span = item.range[1] - item.range[0], group = `${first.title} - ${other.title}`;
          found.push({ title: `${item.name}: difference`, item, other: other.key, kind: "difference", group,
            range: [-span / 4, span / 4], unit: item.unit, colours: "RdBu_r" });
          if (spread(item.name, first.key, other.key, 0) !== undefined)
            found.push({ title: `${item.name}: difference in std`, item, other: other.key, kind: "z", group,
              range: [-3, 3], unit: "1", colours: "RdBu_r" });
        }
    for (const image of one.images)
      found.push({ title: image.name === "series" ? "mean of the series" : "T1w on its grid", item: image, kind: "image",
        group: "Images", range: image.range, unit: "", colours: "gray" });
    return found;
  }
  // Standard deviation of a difference of two estimates; undefined where neither has one.
  function spread(name, first, second, place) {
    const known = [find(name, first, "std"), find(name, second, "std")].filter((item) => item);
    return known.length ? Math.hypot(...known.map((item) => item.values ? item.values[place] : 0)) : undefined;
  }
  function valueAt(one, place) {
    if (one.kind === "difference" || one.kind === "z") {
      const gap = one.item.values[place] - find(one.item.name, one.other, "estimate").values[place];
      return one.kind === "z" ? gap / spread(one.item.name, one.item.of, one.other, place) : gap;
    }
    return one.item.values[place];
  }

  function fill(select, options) {
    select.textContent = "";
    const groups = new Map();
    for (const [value, title, group] of options) {
      const option = new Option(title, value);
      if (!group) { select.add(option); continue; }
      if (!groups.has(group)) {
        const box = document.createElement("optgroup");
        box.label = group; groups.set(group, box); select.append(box);
      }
      groups.get(group).append(option);
    }
  }

  async function opened() {
    say("Opening ...");
    if (!window.niivue?.Niivue) {
      const script = document.createElement("script");
      script.textContent = new TextDecoder().decode(await unpacked(element("library").textContent.trim(), "gzip"));
      document.head.append(script);
    }
    const canvas = element("v-canvas");
    const made = new niivue.Niivue({ backColor: [0, 0, 0, 1], crosshairColor: [1, 0.4, 0.2, 0.9], show3Dcrosshair: true, crosshairWidth: 0.4, crosshairWidthUnit: "percent",
      isNearestInterpolation: true, logLevel: "error", loadingText: "", dragAndDropEnabled: false, isOrientCube: false, textHeight: 0.04 });
    await made.attachToCanvas(canvas);
    made.onLocationChange = (place) => {
      const voxel = Array.from(place.vox).slice(0, 3).map(Math.round);
      if (voxel.every((index, i) => index >= 0 && index < series.shape[i])) { at = voxel; tell(); }
    };
    return made;
  }

  // A NIfTI-1 file of colours, on the grid of the page.
  function file(colours) {
    const buffer = new ArrayBuffer(352 + colours.length), view = new DataView(buffer), a = series.affine;
    view.setInt32(0, 348, true);
    [3, ...series.shape, 1, 1, 1, 1].forEach((size, i) => view.setInt16(40 + 2 * i, size, true));
    view.setInt16(70, 2304, true); view.setInt16(72, 32, true);
    const edge = (i) => Math.hypot(a[0][i], a[1][i], a[2][i]);
    [1, edge(0), edge(1), edge(2), 1, 1, 1, 1].forEach((size, i) => view.setFloat32(76 + 4 * i, size, true));
    view.setFloat32(108, 352, true); view.setFloat32(112, 1, true); view.setUint8(123, 2); view.setInt16(254, 1, true);
    a.slice(0, 3).forEach((row, i) => row.forEach((value, j) => view.setFloat32(280 + 16 * i + 4 * j, value, true)));
    [110, 43, 49, 0].forEach((letter, i) => view.setUint8(344 + i, letter));
    new Uint8Array(buffer, 352).set(colours);
    return buffer;
  }

  function colours() {
    const table = page.colours[layer.colours], n = series.place.length, found = new Uint8Array(4 * n);
    const [low, high] = range, whole = layer.kind === "image";
    const over = element("v-over").value, share = element("v-opacity").value / 100;
    const flags = over.startsWith("flags") ? find("flags", over.slice(6)).values : null;
    const nx = series.shape[0], place = series.place, regions = series.regions && series.regions.values;
    const edge = (voxel) => [1, -1, nx, -nx].some((step) => (place[voxel + step] ?? -1) < 0);
    for (let voxel = 0; voxel < n; voxel++) {
      const inside = place[voxel];
      if (inside < 0 && !whole) continue;
      const value = whole ? layer.item.values[voxel] : valueAt(layer, inside);
      if (!Number.isFinite(value)) { if (inside >= 0) found[4 * voxel + 3] = 255; continue; }
      const level = Math.max(0, Math.min(255, Math.round(255 * (value - low) / (high - low))));
      let mix = [table[3 * level], table[3 * level + 1], table[3 * level + 2]], extra = null;
      if (inside >= 0) {
        if (over === "mask" && edge(voxel)) extra = [255, 60, 60];
        else if (flags && flags[inside] > 0) extra = [255, 60, 60];
        else if (over === "regions" && regions[voxel]) extra = page.palette[regions[voxel] % page.palette.length];
      }
      if (extra) mix = mix.map((part, i) => (1 - share) * part + share * extra[i]);
      found.set([...mix, 255], 4 * voxel);
    }
    return found;
  }

  async function choose(index, fresh = false) {
    layer = layers[index];
    element("v-map").value = index;
    await valuesOf(layer.item);
    range = [...layer.range];
    element("v-low").value = +range[0].toPrecision(4);
    element("v-high").value = +range[1].toPrecision(4);
    await draw(fresh);
  }
  async function draw(fresh = false) {
    const rgba = colours();
    if (fresh) {
      while (viewer.volumes.length) viewer.removeVolumeByIndex(0);
      await viewer.loadFromArrayBuffer(file(rgba), "map.nii");
    } else viewer.volumes[0].img = rgba;
    viewer.updateGLVolume();
    bar();
    say(`${layer.title}, ${layer.group}`);
  }
  function bar() {
    const table = page.colours[layer.colours];
    const stops = Array.from({ length: 17 }, (_, i) => { const k = 3 * Math.min(255, 16 * i); return `rgb(${table[k]},${table[k + 1]},${table[k + 2]})`; });
    element("v-bar").style.background = `linear-gradient(to right, ${stops.join(",")})`;
    element("v-unit").textContent = layer.unit && layer.unit !== "1" ? layer.unit : "";
    const known = layer.item.literature || [];
    element("v-known").textContent = known.length && layer.kind === "estimate" ? `Literature at 3 T: ${known.join("; ")}` : "";
  }

  function middle() { // of the mask
    const [nx, ny] = series.shape, sum = [0, 0, 0];
    let n = 0;
    series.place.forEach((inside, voxel) => {
      if (inside < 0) return;
      n++; sum[0] += voxel % nx; sum[1] += Math.floor(voxel / nx) % ny; sum[2] += Math.floor(voxel / nx / ny);
    });
    return n ? sum.map((total) => Math.round(total / n)) : series.shape.map((size) => size >> 1);
  }
  function moveTo(voxel) {
    at = voxel;
    viewer.scene.crosshairPos = viewer.vox2frac(voxel);
    viewer.createOnLocationChange();
    viewer.drawScene();
    tell();
  }

  const times = (matrix, point) => [0, 1, 2].map((i) => matrix[i][0] * point[0] + matrix[i][1] * point[1] + matrix[i][2] * point[2] + matrix[i][3]);
  const text = (value) => value === undefined || Number.isNaN(value) ? "n/a" : (value === 0 ? "0" : value.toPrecision(4).replace("-", "\u2212"));
  function row(body, cells) {
    const line = body.insertRow();
    cells.forEach((cell, i) => {
      const box = document.createElement(i ? "td" : "th");
      if (!i) box.scope = "row";
      box.textContent = cell;
      if (i) box.className = "num";
      line.append(box);
    });
  }
  function tell() {
    const [nx, ny] = series.shape, voxel = at[0] + nx * (at[1] + ny * at[2]), place = series.place[voxel];
    ["x", "y", "z"].forEach((axis, i) => { element(`v-${axis}`).value = at[i]; });
    const mm = times(series.affine, at), stored = times(series.to_file, mm).map(Math.round);
    const region = series.regions && series.regions.names[series.regions.values[voxel]];
    element("v-place").textContent = `Voxel ${stored.join(", ")} of the files (from 0), at ${mm.map((value) => value.toFixed(1)).join(", ")} mm: `
      + (place < 0 ? "outside of the mask" : region || "inside the mask");
    element("v-place").dataset.voxel = stored.join(",");
    const keys = series.estimators.map((item) => item.key), [first, second] = keys, table = element("v-values");
    table.tHead.textContent = ""; table.tBodies[0].textContent = "";
    const titles = ["map", ...series.estimators.flatMap((item) => [item.title, "std"]), ...(second ? ["difference", "in std"] : [])];
    const head = table.tHead.insertRow();
    titles.forEach((title) => { const cell = document.createElement("th"); cell.scope = "col"; cell.textContent = title; head.append(cell); });
    document.dispatchEvent(new CustomEvent("voxel", { detail: { series, stored } }));
    if (place < 0) return;
    const names = (kind) => [...new Set(series.maps.filter((item) => item.kind === kind).map((item) => item.name))];
    const value = (name, of, kind) => { const item = find(name, of, kind); return item && item.values[place]; };
    for (const name of names("estimate")) {
      const unit = series.maps.find((item) => item.name === name && item.kind === "estimate").unit;
      const cells = keys.flatMap((key) => [text(value(name, key, "estimate")), text(value(name, key, "std"))]);
      if (second) {
        const gap = value(name, first, "estimate") - value(name, second, "estimate");
        cells.push(text(gap), text(gap / spread(name, first, second, place)));
      }
      row(table.tBodies[0], [unit && unit !== "1" ? `${name} (${unit})` : name, ...cells]);
    }
    for (const name of names("quality")) {
      const cells = keys.flatMap((key) => [name === "flags" ? flagWords(value(name, key)) : text(value(name, key)), ""]);
      row(table.tBodies[0], [name, ...cells, ...(second ? ["", ""] : [])]);
    }
    for (const item of series.maps.filter((map) => map.kind === "supplied"))
      row(table.tBodies[0], [`${item.name}, supplied`, text(item.values[place]), ...titles.slice(2).map(() => "")]);
  }
  function flagWords(sum) {
    if (sum === undefined || Number.isNaN(sum)) return "n/a";
    if (!sum) return "0";
    return `${sum}: ${Object.keys(series.flags).filter((bit) => sum & bit).map((bit) => series.flags[bit]).join("; ")}`;
  }

  // Controls.
  let flicker = 0;
  function flick() { // from one estimator to the next, same parameter
    const same = layers.filter((one) => one.kind === layer.kind && one.title === layer.title && "of" in layer.item);
    if (same.length > 1) { const next = same[(same.indexOf(layer) + 1) % same.length]; const kept = [...range]; layer = next; range = kept; element("v-map").value = layers.indexOf(next); draw(); }
  }
  function ready() {
    fill(element("v-series"), page.series.map((one, i) => [i, one.name]));
    element("v-series").closest("label").hidden = page.series.length < 2;
    element("v-series").onchange = (event) => start(+event.target.value);
    element("v-map").onchange = (event) => choose(+event.target.value);
    for (const id of ["v-over", "v-opacity"]) element(id).oninput = () => draw();
    for (const id of ["v-low", "v-high"])
      element(id).onchange = () => {
        const wanted = [+element("v-low").value, +element("v-high").value];
        if (wanted[1] > wanted[0]) { range = wanted; draw(); } else say("The upper end of the colours must be above the lower one.");
      };
    element("v-reset").onclick = () => choose(layers.indexOf(layer));
    element("v-turn").onclick = (event) => {
      const on = event.target.getAttribute("aria-pressed") !== "true";
      event.target.setAttribute("aria-pressed", on);
      viewer.setSliceType(on ? 4 : series.shape[2] < 8 ? 0 : 3);
    };
    element("v-flick").onclick = (event) => {
      const on = event.target.getAttribute("aria-pressed") !== "true";
      event.target.setAttribute("aria-pressed", on);
      clearInterval(flicker);
      if (on) flicker = setInterval(flick, 700);
    };
    ["x", "y", "z"].forEach((axis, i) => {
      element(`v-${axis}`).oninput = (event) => { const next = [...at]; next[i] = +event.target.value; moveTo(next); };
    });
  }
  function start(index) {
    return openSeries(index).catch((error) => {
      element("v-tools").hidden = true;
      say(`The viewer cannot run here (${error.message}); the figures below show the same maps.`);
    });
  }
  element("viewer").hidden = false;
  ready();
  const canRun = (() => { try { return !!document.createElement("canvas").getContext("webgl2") && "DecompressionStream" in window; } catch { return false; } })();
  if (!canRun) {
    element("v-tools").hidden = true;
    say("This browser has no WebGL 2, which the viewer needs; the figures below show the same maps.");
    return;
  }
  // Maps are unpacked when the viewer comes near the screen: a long page opens at once.
  const watch = new IntersectionObserver((seen) => {
    if (seen.some((entry) => entry.isIntersecting)) { watch.disconnect(); start(0); }
  }, { rootMargin: "300px" });
  watch.observe(element("viewer"));
})();
