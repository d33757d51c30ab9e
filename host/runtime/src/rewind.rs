//! Whether an instance of a component can be rewound to its snapshot instead of being made anew: the check, and the change to the module that makes
//! it true. What can differ between an instance that has served and a new one is its memory (`crate::memory` restores it), its globals, its
//! tables and its dropped segments. The check refuses modules that can change the last two; of globals it allows one, the stack pointer, and puts a
//! wrapper around every exported function that restores it (docs/decisions/0012-rewound-instances.md).

use std::ops::Range;

use wasm_encoder::{
    CodeSection, Encode as _, ExportKind, ExportSection, Function, Instruction, Module, RawSection, SectionId,
};
use wasmparser::{
    BinaryReader, CanonicalFunction, ComponentCanonicalSectionReader, ComponentType,
    ComponentTypeSectionReader, ExternalKind, FunctionBody, KnownCustom, Name, Operator, Parser, Payload,
    TypeRef, ValType, Validator, WasmFeatures,
};

/// What wasm-ld calls the pointer to the shadow stack.
const STACK_POINTER: &str = "__stack_pointer";
/// Section ids of a component.
const CUSTOM: u8 = 0;
const CORE_MODULE: u8 = 1;
const CORE_INSTANCE: u8 = 2;
const CORE_TYPE: u8 = 3;
const COMPONENT: u8 = 4;
const INSTANCE: u8 = 5;
const ALIAS: u8 = 6;
const TYPE: u8 = 7;
const CANONICAL: u8 = 8;
const IMPORT: u8 = 10;
const EXPORT: u8 = 11;

/// Proposals whose state the check knows.
const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::RELAXED_SIMD);

/// The component with exports that restore the stack pointer.
///
/// # Errors
/// Why instances cannot be rewound, for the operator.
pub(crate) fn prepare(component: &[u8]) -> Result<Vec<u8>, String> {
    let malformed = |error: wasmparser::BinaryReaderError| error.to_string();
    let (preamble, rest) = component.split_at_checked(8).ok_or("it is truncated")?;
    let mut out = preamble.to_vec();
    let mut memories = 0;
    let mut reader = BinaryReader::new(rest, 8);
    while !reader.eof() {
        let id = reader.read_u8().map_err(malformed)?;
        let size = reader.read_var_u32().map_err(malformed)?;
        let content = reader.read_bytes(size as usize).map_err(malformed)?;
        match id {
            CORE_MODULE => {
                let module = Parts::read(content)?;
                memories += module.memories;
                let bytes = module.rewritten()?;
                RawSection { id, data: &bytes }.append_to(&mut out);
            }
            COMPONENT => {
                stateless(content)?;
                RawSection { id, data: content }.append_to(&mut out);
            }
            TYPE | CANONICAL | CUSTOM | CORE_INSTANCE | CORE_TYPE | INSTANCE | ALIAS | IMPORT | EXPORT => {
                match id {
                    TYPE => no_resources(content)?,
                    CANONICAL => plain_functions(content)?,
                    _ => {}
                }
                RawSection { id, data: content }.append_to(&mut out);
            }
            _ => {
                return Err(
                    "it has a start function or another section that the check does not know".to_owned(),
                );
            }
        }
    }
    match memories {
        1 => Ok(out),
        count => Err(format!("it has {count} memories, not one")),
    }
}

/// Resources of the plugin's own would live in the component's table of handles.
fn no_resources(content: &[u8]) -> Result<(), String> {
    let types =
        ComponentTypeSectionReader::new(BinaryReader::new(content, 0)).map_err(|error| error.to_string())?;
    for kind in types {
        if let ComponentType::Resource { .. } = kind.map_err(|error| error.to_string())? {
            return Err("it defines a resource of its own".to_owned());
        }
    }
    Ok(())
}

/// Functions in and out, and borrowed handles given back; nothing else of the component model keeps no state.
fn plain_functions(content: &[u8]) -> Result<(), String> {
    let functions = ComponentCanonicalSectionReader::new(BinaryReader::new(content, 0))
        .map_err(|error| error.to_string())?;
    for function in functions {
        match function.map_err(|error| error.to_string())? {
            CanonicalFunction::Lift { .. }
            | CanonicalFunction::Lower { .. }
            | CanonicalFunction::ResourceDrop { .. } => {}
            other => {
                return Err(format!(
                    "it uses a built-in function that may keep state: {other:?}"
                ));
            }
        }
    }
    Ok(())
}

/// Checks that an inner component only gives exports their types and names, as every exported interface needs one.
fn stateless(component: &[u8]) -> Result<(), String> {
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(|error| error.to_string())? {
            Payload::Version { .. }
            | Payload::ComponentTypeSection(_)
            | Payload::ComponentImportSection(_)
            | Payload::ComponentExportSection(_)
            | Payload::ComponentAliasSection(_)
            | Payload::ComponentInstanceSection(_)
            | Payload::CustomSection(_)
            | Payload::End(_) => {}
            _ => return Err("it contains another component with code of its own".to_owned()),
        }
    }
    Ok(())
}

trait AppendTo {
    fn append_to(&self, out: &mut Vec<u8>);
}

impl AppendTo for RawSection<'_> {
    fn append_to(&self, out: &mut Vec<u8>) {
        out.push(self.id);
        self.data.encode(out);
    }
}

/// What the check has to know of a core module.
struct Parts<'a> {
    bytes: &'a [u8],
    /// Parameters and results of each type.
    types: Vec<(Vec<ValType>, Vec<ValType>)>,
    /// Type of each function, imported ones first.
    functions: Vec<u32>,
    imported: u32,
    exports: Vec<(&'a str, ExternalKind, u32)>,
    bodies: Vec<FunctionBody<'a>>,
    /// Every section: id and content.
    sections: Vec<(u8, Range<usize>)>,
    memories: usize,
    /// The one global that may change.
    changing: Option<u32>,
}

impl<'a> Parts<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, String> {
        Validator::new_with_features(FEATURES)
            .validate_all(bytes)
            .map_err(|error| format!("it uses what the check does not know: {error}"))?;
        let mut parts = Self {
            bytes,
            types: Vec::new(),
            functions: Vec::new(),
            imported: 0,
            exports: Vec::new(),
            bodies: Vec::new(),
            sections: Vec::new(),
            memories: 0,
            changing: None,
        };
        let mut globals = Vec::new();
        let mut names = Vec::new();
        let mut outer_table = false;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload.map_err(|error| error.to_string())?;
            if let Some((id, range)) = payload.as_section() {
                parts.sections.push((id, range));
            }
            let malformed = |error: wasmparser::BinaryReaderError| error.to_string();
            match payload {
                Payload::TypeSection(types) => {
                    for kind in types.into_iter_err_on_gc_types() {
                        let kind = kind.map_err(malformed)?;
                        parts
                            .types
                            .push((kind.params().to_vec(), kind.results().to_vec()));
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        match import.map_err(malformed)?.ty {
                            TypeRef::Func(kind) | TypeRef::FuncExact(kind) => {
                                parts.functions.push(kind);
                                parts.imported += 1;
                            }
                            TypeRef::Global(global) => {
                                no_reference(global.content_type)?;
                                globals.push(global.mutable.then_some(false));
                            }
                            TypeRef::Table(_) => outer_table = true,
                            TypeRef::Memory(_) | TypeRef::Tag(_) => {}
                        }
                    }
                }
                Payload::FunctionSection(functions) => {
                    for kind in functions {
                        parts.functions.push(kind.map_err(malformed)?);
                    }
                }
                Payload::MemorySection(memories) => {
                    for memory in memories {
                        let memory = memory.map_err(malformed)?;
                        if memory.shared || memory.memory64 || memory.initial == 0 {
                            return Err("its memory is shared, of 64 bits or empty".to_owned());
                        }
                        parts.memories += 1;
                    }
                }
                Payload::GlobalSection(section) => {
                    for global in section {
                        let kind = global.map_err(malformed)?.ty;
                        no_reference(kind.content_type)?;
                        globals.push(kind.mutable.then_some(kind.content_type == ValType::I32));
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export.map_err(malformed)?;
                        outer_table |= export.kind == ExternalKind::Table;
                        parts.exports.push((export.name, export.kind, export.index));
                    }
                }
                Payload::StartSection { .. } => return Err("a module has a start function".to_owned()),
                Payload::CodeSectionEntry(body) => parts.bodies.push(body),
                Payload::CustomSection(section) => {
                    if let KnownCustom::Name(section) = section.as_known() {
                        for name in section.into_iter().flatten() {
                            if let Name::Global(map) = name {
                                names.extend(map.into_iter().flatten().map(|name| (name.index, name.name)));
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        parts.changing = stack_pointer(&globals, &names)?;
        if parts.changing.is_some() && outer_table {
            return Err("a module with a stack pointer shares a table".to_owned());
        }
        parts.scan()?;
        Ok(parts)
    }

    /// Looks for instructions that change tables, drop segments or hand functions out past the exports.
    fn scan(&self) -> Result<(), String> {
        for body in &self.bodies {
            for operator in body.get_operators_reader().map_err(|error| error.to_string())? {
                let found = match operator.map_err(|error| error.to_string())? {
                    Operator::TableSet { .. } => "table.set",
                    Operator::TableGrow { .. } => "table.grow",
                    Operator::TableFill { .. } => "table.fill",
                    Operator::TableCopy { .. } => "table.copy",
                    Operator::TableInit { .. } => "table.init",
                    Operator::ElemDrop { .. } => "elem.drop",
                    Operator::DataDrop { .. } => "data.drop",
                    Operator::TableGet { .. } if self.changing.is_some() => "table.get",
                    Operator::RefFunc { .. } if self.changing.is_some() => "ref.func",
                    _ => continue,
                };
                return Err(format!("a function uses `{found}`"));
            }
        }
        Ok(())
    }

    /// The module; with wrappers around its exported functions if its stack pointer can change.
    fn rewritten(&self) -> Result<Vec<u8>, String> {
        let Some(global) = self.changing else {
            return Ok(self.bytes.to_vec());
        };
        if self.bodies.is_empty() {
            return Err("a module has a stack pointer and no functions".to_owned());
        }
        let mut kinds = Vec::new();
        let mut wrappers = Vec::new();
        let mut exports = ExportSection::new();
        let mut next = u32::try_from(self.functions.len()).map_err(|error| error.to_string())?;
        for &(name, kind, index) in &self.exports {
            let (kind, index) = match kind {
                ExternalKind::Func | ExternalKind::FuncExact => {
                    let declared = *self
                        .functions
                        .get(index as usize)
                        .ok_or("an export of no function")?;
                    let (parameters, results) = self
                        .types
                        .get(declared as usize)
                        .ok_or("a function without a type")?;
                    let reference = |kind: &ValType| matches!(kind, ValType::Ref(_));
                    if parameters.iter().chain(results).any(reference) {
                        return Err(format!("`{name}` passes references"));
                    }
                    kinds.push(declared);
                    wrappers.push(wrapper(index, parameters.len(), global)?);
                    next += 1;
                    (ExportKind::Func, next - 1)
                }
                ExternalKind::Table => (ExportKind::Table, index),
                ExternalKind::Memory => (ExportKind::Memory, index),
                ExternalKind::Global => (ExportKind::Global, index),
                ExternalKind::Tag => (ExportKind::Tag, index),
            };
            exports.export(name, kind, index);
        }
        let mut module = Module::new();
        for (id, range) in &self.sections {
            let data = self.bytes.get(range.clone()).ok_or("a section out of bounds")?;
            if *id == SectionId::Function as u8 {
                let (count, entries) = counted(data)?;
                let mut data = Vec::with_capacity(data.len() + kinds.len() * 2);
                (count + kinds.len()).encode(&mut data);
                data.extend_from_slice(entries);
                for kind in &kinds {
                    kind.encode(&mut data);
                }
                module.section(&RawSection { id: *id, data: &data });
            } else if *id == SectionId::Export as u8 {
                module.section(&exports);
            } else if *id == SectionId::Code as u8 {
                module.section(&self.code(data, &wrappers)?);
            } else {
                module.section(&RawSection { id: *id, data });
            }
        }
        Ok(module.finish())
    }

    /// The code section with the wrappers behind everything else, so that addresses in debug information stay right.
    fn code(&self, old: &[u8], wrappers: &[Function]) -> Result<CodeSection, String> {
        let (_, bodies) = counted(old)?;
        let mut code = CodeSection::new();
        for body in &self.bodies {
            code.raw(self.bytes.get(body.range()).ok_or("a function out of bounds")?);
        }
        let mut before = Vec::new();
        code.encode(&mut before);
        for wrapper in wrappers {
            code.function(wrapper);
        }
        // size and count stand in front of the bodies; debug information counts from the byte behind the size
        let count = |total: u32| {
            let mut bytes = Vec::new();
            total.encode(&mut bytes);
            bytes.len()
        };
        let moved = count(code.len()) + bodies.len() != old.len();
        let repacked = !before.ends_with(bodies);
        if moved || repacked {
            return Err("adding functions would move its debug information".to_owned());
        }
        Ok(code)
    }
}

/// A global that holds a function would hand it out past the exports.
fn no_reference(kind: ValType) -> Result<(), String> {
    if matches!(kind, ValType::Ref(_)) {
        return Err("a module has a global that holds a reference".to_owned());
    }
    Ok(())
}

/// Number of entries and the entries.
fn counted(data: &[u8]) -> Result<(usize, &[u8]), String> {
    let mut reader = BinaryReader::new(data, 0);
    let count = reader.read_var_u32().map_err(|error| error.to_string())?;
    let entries = data.get(reader.original_position()..).unwrap_or_default();
    Ok((count as usize, entries))
}

/// The one global that can change, if any. `globals` has `None` for constants, else whether it is defined here and an i32.
fn stack_pointer(globals: &[Option<bool>], names: &[(u32, &str)]) -> Result<Option<u32>, String> {
    let mut changing = globals
        .iter()
        .enumerate()
        .filter_map(|(index, global)| global.map(|known| (index, known)));
    let Some((index, known)) = changing.next() else {
        return Ok(None);
    };
    if changing.next().is_some() {
        return Err("a module has more than one global that can change".to_owned());
    }
    let index = u32::try_from(index).map_err(|error| error.to_string())?;
    if known && names.contains(&(index, STACK_POINTER)) {
        Ok(Some(index))
    } else {
        Err(format!(
            "a module has a global that can change and is not named `{STACK_POINTER}` (or its names were stripped)"
        ))
    }
}

/// A function with the same parameters and results that calls `target` and puts back the stack pointer.
fn wrapper(target: u32, parameters: usize, global: u32) -> Result<Function, String> {
    let parameters = u32::try_from(parameters).map_err(|error| error.to_string())?;
    let mut function = Function::new([(1, wasm_encoder::ValType::I32)]);
    function.instruction(&Instruction::GlobalGet(global));
    function.instruction(&Instruction::LocalSet(parameters));
    for parameter in 0..parameters {
        function.instruction(&Instruction::LocalGet(parameter));
    }
    function.instruction(&Instruction::Call(target));
    function.instruction(&Instruction::LocalGet(parameters));
    function.instruction(&Instruction::GlobalSet(global));
    function.instruction(&Instruction::End);
    Ok(function)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(module: &str) -> Result<Vec<u8>, String> {
        let component = wat::parse_str(format!("(component (core module {module}))")).unwrap();
        prepare(&component)
    }

    /// The first module of a component.
    fn module(component: &[u8]) -> Vec<u8> {
        let found = Parser::new(0)
            .parse_all(component)
            .find_map(|payload| match payload.unwrap() {
                Payload::ModuleSection { unchecked_range, .. } => Some(unchecked_range),
                _ => None,
            });
        component[found.unwrap()].to_vec()
    }

    #[test]
    fn the_stack_pointer_is_as_it_was_after_every_export() {
        let prepared = component(
            r#"(memory 1) (global $__stack_pointer (mut i32) (i32.const 1000))
            (func (export "move") (param i32 i64) (result i32 i64)
                local.get 0 global.set $__stack_pointer local.get 0 local.get 1)
            (func (export "read") (result i32) global.get $__stack_pointer)"#,
        )
        .unwrap();
        let engine = wasmtime::Engine::default();
        let module = wasmtime::Module::new(&engine, module(&prepared)).unwrap();
        let mut store = wasmtime::Store::new(&engine, ());
        let instance = wasmtime::Instance::new(&mut store, &module, &[]).unwrap();
        let change = instance
            .get_typed_func::<(i32, i64), (i32, i64)>(&mut store, "move")
            .unwrap();
        assert_eq!(
            change.call(&mut store, (7, 8)).unwrap(),
            (7, 8),
            "parameters and results pass"
        );
        let read = instance.get_typed_func::<(), i32>(&mut store, "read").unwrap();
        assert_eq!(read.call(&mut store, ()).unwrap(), 1000);
    }

    #[test]
    fn what_cannot_be_put_back_is_refused_with_its_reason() {
        let table = |instruction: &str| {
            format!("(memory 1) (table 2 funcref) (elem $e func 0) (data $d \"x\") (func {instruction})")
        };
        let set = "i32.const 0 ref.null func table.set 0";
        let cases = [
            (table(set), "table.set"),
            (
                table("ref.null func i32.const 1 table.grow 0 drop"),
                "table.grow",
            ),
            (
                table("i32.const 0 ref.null func i32.const 1 table.fill 0"),
                "table.fill",
            ),
            (
                table("i32.const 0 i32.const 0 i32.const 1 table.copy 0 0"),
                "table.copy",
            ),
            (
                table("i32.const 0 i32.const 0 i32.const 1 table.init 0 $e"),
                "table.init",
            ),
            (table("elem.drop $e"), "elem.drop"),
            (table("data.drop $d"), "data.drop"),
            ("(memory 1) (func) (start 0)".to_owned(), "start"),
            ("(memory i64 1)".to_owned(), "memory"),
            (String::new(), "0 memories"),
            ("(memory 1) (memory 1)".to_owned(), "memor"),
            (
                "(memory 1) (global $counter (mut i32) (i32.const 0))".to_owned(),
                "__stack_pointer",
            ),
            (
                "(memory 1) (global $__stack_pointer (mut i64) (i64.const 0))".to_owned(),
                "__stack_pointer",
            ),
            (
                "(memory 1) (global $__stack_pointer (mut i32) (i32.const 0)) (global $b (mut i32) (i32.const 0))".to_owned(),
                "more than one",
            ),
            (
                "(import \"a\" \"b\" (global $__stack_pointer (mut i32))) (memory 1)".to_owned(),
                "__stack_pointer",
            ),
            (
                "(memory 1) (global $__stack_pointer (mut i32) (i32.const 0)) (table (export \"t\") 1 funcref)".to_owned(),
                "table",
            ),
            (
                "(memory 1) (global $__stack_pointer (mut i32) (i32.const 0)) (func $f (export \"f\") (result funcref) ref.func $f)"
                    .to_owned(),
                "ref.func",
            ),
            (
                "(memory 1) (global $__stack_pointer (mut i32) (i32.const 0)) (func $f) (global (export \"g\") funcref (ref.func $f))".to_owned(),
                "reference",
            ),
            ("(import \"a\" \"g\" (global funcref)) (memory 1)".to_owned(), "reference"),
            ("(memory 0)".to_owned(), "empty"),
            ("(memory 1) (type $s (struct (field (mut i32))))".to_owned(), "does not know"),
        ];
        for (module, reason) in cases {
            let refused = component(&module).unwrap_err();
            assert!(refused.contains(reason), "{module}: {refused}");
        }
        for (own, reason) in [
            ("(type $r (resource (rep i32)))", "resource"),
            (
                "(import \"r\" (type $r (sub resource))) (core func (canon resource.rep $r))",
                "state",
            ),
        ] {
            let component = wat::parse_str(format!("(component {own} (core module (memory 1)))")).unwrap();
            let refused = prepare(&component).unwrap_err();
            assert!(refused.contains(reason), "{own}: {refused}");
        }
        let nested = wat::parse_str("(component (component (core module)))").unwrap();
        assert!(prepare(&nested).unwrap_err().contains("another component"));
    }

    #[test]
    fn cut_off_components_are_errors() {
        let whole = wat::parse_str("(component (core module (memory 1) (func (export \"f\"))))").unwrap();
        assert!(prepare(&whole).is_ok());
        for length in 0..whole.len() {
            // a cut between two sections leaves a component without its module
            assert!(prepare(&whole[..length]).is_err(), "{length}");
        }
    }
}
