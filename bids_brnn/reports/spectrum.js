// The Z-spectrum at the crosshair: measured points, and what each model makes of them.
(() => {
  "use strict";
  const holder = document.getElementById("v-spectrum");
  if (!holder) return;
  const [WIDTH, HEIGHT, LEFT, TOP, FOOT] = [560, 300, 52, 14, 40];
  const COLOURS = ["#2166ac", "#b2182b", "#1b7837", "#762a83", "#b35806", "#4d4d4d"], DASHES = ["", "6 3", "2 2", "8 3 2 3", "1 3", "10 4"];
  const escaped = (text) => String(text).replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);

  function drawing(about, measured, fits) {
    const on = about.offset.map((offset, i) => i).filter((i) => about.offset[i]);
    const off = about.offset.map((offset, i) => i).filter((i) => about.offset[i] === null);
    const unit = off.length ? off.reduce((sum, i) => sum + measured[i], 0) / off.length : Math.max(...measured);
    const x = (i) => Math.log10(Math.abs(about.offset[i])), xs = on.map(x), low = Math.min(...xs) - 0.1, high = Math.max(...xs) + 0.1;
    const all = [...on.map((i) => measured[i] / unit), ...fits.flatMap((fit) => on.map((i) => fit.values[i] / unit))].filter(Number.isFinite);
    const bottom = Math.min(...all) - 0.03, top = Math.max(...all) + 0.03;
    const u = (value) => (LEFT + (value - low) / (high - low) * (WIDTH - LEFT - 10)).toFixed(1);
    const v = (value) => (TOP + (top - value) / (top - bottom) * (HEIGHT - TOP - FOOT)).toFixed(1);
    const parts = [];
    for (let k = Math.ceil(low); k <= high; k++)
      parts.push(`<path class="grid" d="M${u(k)} ${TOP}V${HEIGHT - FOOT}"/><text x="${u(k)}" y="${HEIGHT - FOOT + 14}" text-anchor="middle">${10 ** k}</text>`);
    for (let k = Math.ceil(bottom * 10); k <= top * 10; k++)
      parts.push(`<path class="grid" d="M${LEFT} ${v(k / 10)}H${WIDTH - 10}"/><text x="${LEFT - 5}" y="${+v(k / 10) + 4}" text-anchor="end">${(k / 10).toFixed(1)}</text>`);
    const angles = [...new Set(on.map((i) => about.angle[i]))];
    angles.forEach((angle, n) => {
      const here = on.filter((i) => about.angle[i] === angle).sort((a, b) => x(a) - x(b)), colour = COLOURS[n % COLOURS.length];
      fits.forEach((fit, k) => {
        const path = here.filter((i) => Number.isFinite(fit.values[i])).map((i) => `${u(x(i))} ${v(fit.values[i] / unit)}`).join("L");
        if (path) parts.push(`<path d="M${path}" fill="none" stroke="${colour}" stroke-dasharray="${DASHES[k % DASHES.length]}"/>`);
      });
      here.forEach((i) => parts.push(`<circle cx="${u(x(i))}" cy="${v(measured[i] / unit)}" r="4" fill="${colour}" data-offset="${about.offset[i]}" data-angle="${angle}" data-measured="${measured[i]}"><title>${about.offset[i]} Hz, ${angle} degrees: ${(measured[i] / unit).toFixed(4)}</title></circle>`));
      parts.push(`<text x="${WIDTH - 14}" y="${HEIGHT - FOOT - 8 - 14 * n}" text-anchor="end" style="fill:${colour};font-weight:bold">${angle} degrees</text>`);
    });
    parts.push(`<text x="${(WIDTH + LEFT) / 2}" y="${HEIGHT - 6}" text-anchor="middle">offset of the MT pulse (Hz)</text>`);
    const label = `Z-spectrum: ${on.length} measurements and ${fits.map((fit) => fit.title).join(", ")}`;
    return `<svg role="img" aria-label="${escaped(label)}" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" style="max-width:100%">${parts.join("")}</svg>`;
  }

  let latest = null;
  document.addEventListener("voxel", async (event) => {
    latest = event;
    const { series, stored } = event.detail, about = series.spectra;
    holder.hidden = !about;
    if (!about) return;
    const distance = (voxel) => Math.hypot(...voxel.map((index, i) => index - stored[i]));
    let nearest = 0;
    about.voxels.forEach((voxel, i) => { if (distance(voxel) < distance(about.voxels[nearest])) nearest = i; });
    const n = about.offset.length, cut = async (text) => Array.from((await window.unpackedValues(text)).slice(nearest * n, (nearest + 1) * n));
    const measured = await cut(about.measured), fits = [];
    for (const one of series.estimators)
      if (about.fitted[one.key]) fits.push({ title: one.title, values: await cut(about.fitted[one.key]) });
    if (event !== latest) return; // the crosshair has moved on
    const norm = Math.hypot(...measured);
    const words = fits.map((fit) => {
      const gap = Math.hypot(...fit.values.map((value, i) => value - measured[i])) / norm;
      return `${fit.title} ${Number.isFinite(gap) ? `${(100 * gap).toPrecision(3)} %` : "no estimate"}`;
    });
    const voxel = about.voxels[nearest], away = distance(voxel) > 0 ? ` (the nearest of ${about.voxels.length} whose spectra lie in this page)` : "";
    holder.innerHTML = `${drawing(about, measured, fits)}<figcaption>Z-spectrum of voxel ${voxel.join(", ")}${away}, over the measurement without MT pulse: points measured, lines fitted${fits.length > 1 ? ` (${fits.map((fit, k) => `${escaped(fit.title)} ${DASHES[k % DASHES.length] ? "dashed " + DASHES[k % DASHES.length] : "solid"}`).join(", ")})` : ""}. Residual over the norm of the data: ${escaped(words.join(", "))}.</figcaption>`;
    holder.dataset.voxel = voxel.join(",");
  });
})();
