// The index of papers, narrowed by room and by verdict; without scripts it shows them all.
document.addEventListener("DOMContentLoaded", () => {
  const form = document.querySelector("#paper-filter");
  if (!form) return;
  const papers = [...document.querySelectorAll(".paper")];
  const chosen = [...form.querySelectorAll("select")];
  const update = () => {
    for (const paper of papers) {
      paper.hidden = chosen.some((select) => select.value && !paper.classList.contains(select.value));
    }
    const shown = papers.filter((paper) => !paper.hidden).length;
    form.querySelector("output").textContent = `${shown} of ${papers.length} papers`;
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", update);
  form.hidden = false;
  update();
});
