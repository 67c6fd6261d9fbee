// ipywidgets 8 gives the handles of its sliders no name, which a screen reader would say: take it from their label.
const name = () => {
  for (const slider of element.closest(".dfdc-named")?.querySelectorAll(".widget-slider") ?? []) {
    const label = slider.querySelector(".widget-label").textContent;
    const handles = [...slider.querySelectorAll(".noUi-handle")];
    handles.forEach((handle, at) => {
      handle.ariaLabel = handles.length > 1 ? `${["lowest", "highest"][at]} ${label}` : label;
    });
  }
};
[0, 100, 1000, 5000].forEach((wait) => setTimeout(name, wait)); // the sliders may be drawn later than this
