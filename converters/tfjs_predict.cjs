// Loads a layers model, predicts what in.bin of a folder holds, and saves outputs and model there.
// Usage: node tfjs_predict.cjs MODEL.JSON FOLDER SHAPE...
const fs = require("fs");
const path = require("path");
const tf = require("@tensorflow/tfjs");

const [model, folder] = process.argv.slice(2, 4);
const shape = process.argv.slice(4).map(Number);
const besideModel = (name) => path.join(path.dirname(model), name);
const inFolder = (name) => path.join(folder, name);
const bytes = (buffer) => buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.length);

async function main() {
  const { weightsManifest, ...topology } = JSON.parse(fs.readFileSync(model));
  const [{ paths, weights }] = weightsManifest;
  const weightData = bytes(Buffer.concat(paths.map((name) => fs.readFileSync(besideModel(name)))));
  const loaded = await tf.loadLayersModel({
    load: async () => ({ ...topology, weightSpecs: weights, weightData }),
  });
  const images = new Float32Array(bytes(fs.readFileSync(inFolder("in.bin"))));
  const outputs = [loaded.predict(tf.tensor(images, shape))].flat();
  outputs.forEach((output, index) =>
    fs.writeFileSync(inFolder(`${index}.out`), output.dataSync())
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
