() => {
  const parse = text => { const n = (text.match(/[\d.]+/g) || []).map(Number); return text.startsWith('color(srgb') ? [n[0] * 255, n[1] * 255, n[2] * 255, n[3] === undefined ? 1 : n[3]] : [n[0], n[1], n[2], n[3] === undefined ? 1 : n[3]]; };
  const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const parent = e => e.parentElement || (e.getRootNode().host || null);
  const ground = element => {
    const stack = [];
    for (let e = element; e; e = parent(e)) { const s = getComputedStyle(e); if (s.backgroundImage !== 'none' && !/^h2|^h3/i.test(e.tagName)) return null; const c = parse(s.backgroundColor); if (c[3] > 0) { stack.push(c); if (c[3] === 1) break; } }
    return stack.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const light = c => { const v = c.slice(0, 3).map(x => { x /= 255; return x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4; }); return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
  const found = []; let checked = 0;
  const look = root => {
    for (const element of root.querySelectorAll('*')) {
      if (element.shadowRoot) look(element.shadowRoot);
      if (![...element.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
      const box = element.getBoundingClientRect(), style = getComputedStyle(element);
      if (!box.width || !box.height || style.visibility !== 'visible' || /^(SCRIPT|STYLE|OPTION)$/.test(element.tagName) || element.disabled || element.closest('.sr, .skip')) continue;
      const back = ground(element);
      if (!back) continue;
      checked += 1;
      const a = light(over(parse(style.color), back)), b = light(back), ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
      if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${element.tagName}.${element.className} "${element.textContent.trim().slice(0, 30)}"`);
    }
  };
  look(document);
  return { checked, found };
}
