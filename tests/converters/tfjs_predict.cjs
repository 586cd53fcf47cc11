// Loads model.json of a folder, predicts what in.bin holds, and saves outputs and model again.
// Usage: node tfjs_predict.cjs FOLDER COUNT SIZE
const fs = require("fs");
const path = require("path");
const tf = require("@tensorflow/tfjs");

const [folder, count, size] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const inFolder = (name) => path.join(folder, name);
const bytes = (buffer) => buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.length);

async function main() {
  const { weightsManifest, ...model } = JSON.parse(fs.readFileSync(inFolder("model.json")));
  const [{ paths, weights }] = weightsManifest;
  const weightData = bytes(Buffer.concat(paths.map((name) => fs.readFileSync(inFolder(name)))));
  const loaded = await tf.loadLayersModel({
    load: async () => ({ ...model, weightSpecs: weights, weightData }),
  });
  const images = new Float32Array(bytes(fs.readFileSync(inFolder("in.bin"))));
  const outputs = loaded.predict(tf.tensor4d(images, [count, size, size, 3]));
  outputs.forEach((output, index) =>
    fs.writeFileSync(inFolder(`${loaded.outputNames[index]}.out`), output.dataSync())
  );
  await loaded.save({
    save: async ({ weightSpecs, weightData: saved, ...rest }) => {
      const manifest = [{ paths: ["again.bin"], weights: weightSpecs }];
      const text = JSON.stringify({ ...rest, weightsManifest: manifest });
      fs.writeFileSync(inFolder("again.json"), text);
      fs.writeFileSync(inFolder("again.bin"), Buffer.from(saved));
      return { modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: "JSON" } };
    },
  });
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
