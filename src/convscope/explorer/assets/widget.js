// The widget of a notebook: a frame with the page, and what its questions pass through.

function render({ model, el }) {
  const frame = document.createElement("iframe");
  Object.assign(frame, { srcdoc: model.get("page"), allow: "camera", title: "convscope" });
  frame.style.cssText = "border: 0; width: 100%; height: 40rem";
  let port = null;
  const opened = (event) => {
    if (event.source !== frame.contentWindow || event.data !== "convscope") return;
    [port] = event.ports;
    port.onmessage = ({ data: { height, body, ...question } }) => {
      if (height) frame.style.height = `${height}px`;
      else model.send(question, undefined, body ? [body] : []);
    };
  };
  const answered = (answer, [content]) => port?.postMessage({
    ...answer, content: content && new Uint8Array(content.buffer, content.byteOffset, content.byteLength).slice().buffer,
  });
  window.addEventListener("message", opened);
  model.on("msg:custom", answered);
  el.append(frame);
  return () => {
    window.removeEventListener("message", opened);
    model.off("msg:custom", answered);
  };
}

export default { render };
