// What the browser makes of a report page, written to an attribute of its body: texts of charts that overlap or leave
// their chart, how wide the page is, what it fetches, and the least contrast of text with the paper.
addEventListener("load", () => {
  const overlap = (a, b) =>
    a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  const inside = (a, b) =>
    a.left > b.left - 1 && a.right < b.right + 1 && a.top > b.top - 1 && a.bottom < b.bottom + 1;
  const problems = [];
  for (const svg of document.querySelectorAll("svg")) {
    const box = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")].map((t) => [t.textContent, t.getBoundingClientRect()]);
    if (box.width < 150 || box.height < 80) problems.push("a chart is too small");
    texts.forEach(([text, t], n) => {
      if (!inside(t, box)) problems.push(`outside: ${text}`);
      for (const [other, o] of texts.slice(n + 1)) if (overlap(t, o)) problems.push(`${text} over ${other}`);
    });
  }

  // relative luminance and contrast as WCAG 2 defines them
  const luminance = (colour) => {
    const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = colour.match(/[\d.]+/g).map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = luminance(getComputedStyle(document.body).backgroundColor);
  const contrasts = [...document.querySelectorAll("body, .faint, a, .status, th, figcaption, .tile span")].map((e) => {
    const text = luminance(getComputedStyle(e).color);
    return (Math.max(text, paper) + 0.05) / (Math.min(text, paper) + 0.05);
  });

  const found = {
    problems,
    title: document.title,
    paper,
    contrast: Math.min(...contrasts),
    overflow: document.documentElement.scrollWidth - innerWidth,
    loaded: performance.getEntriesByType("resource").length,
  };
  document.body.setAttribute("data-found", JSON.stringify(found));
});
