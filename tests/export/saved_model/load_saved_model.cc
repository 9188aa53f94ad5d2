// Runs a SavedModel as TensorFlow Serving does: through tensorflow::LoadSavedModel, without Python.
//
//   load_saved_model VERSION_FOLDER SIGNATURE REQUEST_FOLDER...
//
// A request's folder holds a serialized TensorProto for each input, NAME.in; each output is written there as NAME.out.
// A request that fails gives a line in the file "error" there.

#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/framework/tensor.pb.h"

int main(int argc, char** argv) {
  tensorflow::SavedModelBundleLite bundle;
  auto status = tensorflow::LoadSavedModel({}, {}, argv[1], {"serve"}, &bundle);
  if (!status.ok()) {
    std::cerr << status.ToString() << "\n";
    return 1;
  }
  const auto& signature = bundle.GetSignatures().at(argv[2]);
  for (int i = 3; i < argc; ++i) {
    const std::string folder = std::string(argv[i]) + "/";
    std::vector<std::pair<std::string, tensorflow::Tensor>> inputs;
    for (const auto& [name, info] : signature.inputs()) {
      std::ifstream file(folder + name + ".in", std::ios::binary);
      tensorflow::TensorProto proto;
      tensorflow::Tensor tensor;
      if (!proto.ParseFromString(std::string(std::istreambuf_iterator<char>(file), {})) || !tensor.FromProto(proto)) {
        std::cerr << folder << name << ".in: no TensorProto\n";
        return 1;
      }
      inputs.emplace_back(info.name(), tensor);
    }
    std::vector<std::string> names, fetches;
    for (const auto& [name, info] : signature.outputs()) {
      names.push_back(name);
      fetches.push_back(info.name());
    }
    std::vector<tensorflow::Tensor> outputs;
    status = bundle.GetSession()->Run(inputs, fetches, {}, &outputs);
    if (!status.ok()) {
      std::ofstream(folder + "error") << status.ToString() << "\n";
      continue;
    }
    for (size_t k = 0; k < outputs.size(); ++k) {
      tensorflow::TensorProto proto;
      outputs[k].AsProtoField(&proto);
      std::ofstream(folder + names[k] + ".out", std::ios::binary) << proto.SerializeAsString();
    }
  }
  return 0;
}
