use crate::resource::*;
#[derive(Clone,Copy)] pub enum Include{None,Metadata,Object} impl Include{pub fn parse(_:&str)->Self{Include::Metadata}}
pub struct ListMeta; impl ListMeta{pub fn of(_:Object<'_>)->Self{ListMeta}}
pub fn document(_:&Columns,_:&[Object<'_>],_:Include,_:&str,_:&ListMeta,_:CellContext,_:&mut Vec<u8>){}
pub fn row(_:&Columns,_:Object<'_>,_:Include,_:&str,_:CellContext,_:&mut Vec<u8>){}
pub fn definitions(_:&Columns,_:&mut Vec<u8>){}
pub fn metadata_json(_:Object<'_>,_:Option<&str>,_:&mut Vec<u8>){}
